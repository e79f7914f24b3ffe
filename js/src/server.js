// The client of Plane for an app's own server: it asks the controller for the
// backend of a key, and what it gets is what a page's connect wants.

import { failure, PlaneError } from "./plane.js";
export { PlaneError };

/**
 * @typedef {object} Settings
 * @property {string} [controller] its URL; $PLANE_CONTROLLER, else http://127.0.0.1:8080; a user name in it is the API key
 * @property {string} [apiKey] $PLANE_API_KEY unless told
 * @property {number} [timeout] ms for one request, beside what it waits for readiness; 10 s unless told
 * @property {number} [retryFor] ms within which a 503 that says when to try again is tried again; 5 s unless told, 0 = never
 *
 * @typedef {object} ConnectRequest
 * @property {string | {name: string, namespace?: string, tag?: string}} [key] random unless told
 * @property {string} [app] what to start
 * @property {object} [spawnConfig] what to start, in the words of the HTTP API
 * @property {string} [user] that the backend is told
 * @property {Record<string, unknown>} [auth] what else the backend is told of the user
 * @property {"ready"} [wait] answer when it is ready
 * @property {number} [waitSeconds] 1 to 120, at most this long
 * @property {number} [tokenLifetimeSeconds] as long as the backend lives unless told
 * @property {string} [port] one of the app's further ports
 * @property {AbortSignal} [signal]
 *
 * @typedef {object} ConnectAnswer
 * @property {string} backend_id
 * @property {boolean} spawned
 * @property {string} status
 * @property {string} token
 * @property {string} url
 * @property {{token: string, key: string | null}} urls
 * @property {string | null} subdomain
 * @property {string | null} secret_token which the backend gets with each request of this token; not part of the JSON
 * @property {string} status_url
 * @property {string | null} drone
 * @property {{name: string, namespace: string, tag: string}} key
 * @property {number} generation
 * @property {number | null} expires
 */

const env = globalThis.process?.env ?? {};

/** Calls one controller. */
export class Plane {
  #base; #key; #timeout; #retryFor;

  /** @param {Settings} [settings] */
  constructor({ controller = env.PLANE_CONTROLLER || "http://127.0.0.1:8080", apiKey, timeout = 10_000, retryFor = 5_000 } = {}) {
    const [, scheme, user, rest] = /^(https?:\/\/)(?:([^@/]*)@)?([^/]+)/.exec(controller) ?? [];
    if (!scheme) throw new PlaneError("The controller's URL must begin with http:// or https:// and name a host.", { kind: "BadRequest", field: "controller" });
    this.#base = scheme + rest;
    this.#key = user?.split(":")[0] || apiKey || env.PLANE_API_KEY || "";
    this.#timeout = timeout;
    this.#retryFor = retryFor;
  }

  /**
   * Gets or starts the backend of a key. The answer can be sent to the page as
   * it is: its secret is left out of JSON.
   * @param {ConnectRequest} [request] @returns {Promise<ConnectAnswer>}
   */
  async connect({ key, app, spawnConfig, user, auth, wait, waitSeconds, tokenLifetimeSeconds, port, signal } = {}) {
    const answer = await this.#call("/ctrl/connect", {
      key: typeof key === "string" ? { name: key } : key, app, spawn_config: spawnConfig, user, auth,
      wait, wait_seconds: waitSeconds, token_lifetime_seconds: tokenLifetimeSeconds, port,
    }, signal, wait ? (waitSeconds ?? 60) * 1000 : 0);
    return Object.defineProperty(answer, "secret_token", { enumerable: false });
  }

  /** Asks for a backend's end and doesn't wait for it. @param {string} backend its id @param {"soft" | "hard"} [kind] */
  async terminate(backend, kind = "soft") { await this.#call(`/ctrl/b/${encodeURIComponent(backend)}/${kind}-terminate`, null); }

  /** Makes the tokens of one user of a backend worthless, and cuts their connections. @param {string} backend its id @param {string} user */
  async revoke(backend, user) { await this.#call("/ctrl/b/revoke", { backend_id: backend, user }); }

  /** @param {string} path @param {unknown} body @param {AbortSignal} [signal] @param {number} [more] ms */
  async #call(path, body, signal, more = 0) {
    const end = Date.now() + this.#retryFor;
    for (;;) {
      const r = await this.#send(path, body, signal, more);
      if (r.ok) return r.json().catch((cause) => { throw new PlaneError("The controller's answer can't be read.", { kind: "BadAnswer", status: r.status, cause }); });
      const err = await failure(r);
      const pause = err.retryAfter * 1000;
      // A program that ends after each start isn't started by us again and again.
      if (err.status !== 503 || !pause || err.kind === "CrashLoop" || Date.now() + pause > end) throw err;
      await sleep(pause, signal);
    }
  }

  /** @param {string} path @param {unknown} body @param {AbortSignal} [signal] @param {number} [more] ms */
  async #send(path, body, signal, more = 0) {
    const late = AbortSignal.timeout(this.#timeout + more);
    try {
      return await fetch(this.#base + path, {
        method: "POST",
        headers: { "content-type": "application/json", ...(this.#key && { authorization: `Bearer ${this.#key}` }) },
        body: JSON.stringify(body),
        redirect: "error",
        signal: signal ? AbortSignal.any([signal, late]) : late,
      });
    } catch (cause) {
      signal?.throwIfAborted();
      // Whether it had an effect isn't known; connecting again finds the backend.
      const why = late.aborted ? "didn't answer in time" : "can't be reached";
      throw new PlaneError(`The controller at ${this.#base} ${why}.`, { kind: "Unreachable", cause });
    }
  }
}

/** @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => { clearTimeout(timer); reject(signal?.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, ms);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}
