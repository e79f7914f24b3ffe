// The client of Plane for browsers and Node: a session with the backend of a
// key, its requests and its sockets that come back. See README.md.

/**
 * What the app's endpoint answers: the answer of Plane's connect, as it is.
 * @typedef {object} Answer
 * @property {string} url leads to one backend; ends with a slash
 * @property {string} [status]
 * @property {string} [status_url]
 * @property {string} [backend_id]
 * @property {number | null} [generation]
 * @property {number | null} [expires] Unix milliseconds
 *
 * @typedef {object} Options
 * @property {RequestInit} [request] for the endpoint: headers, credentials, body; POST unless it says otherwise
 * @property {any} [WebSocket] the class, where there is none: that of the package ws in Node 20
 * @property {AbortSignal} [signal] closes the session
 * @property {() => number} [random] of [0, 1), for tests
 *
 * @typedef {{ code: number, reason: string, error?: any }} End of a connection; error if it didn't come about
 * @typedef {object} Handlers
 * @property {(e: { generation: number | null, again: boolean }) => void} [onopen] each time
 * @property {(e: MessageEvent) => void} [onmessage]
 * @property {(e: End) => void} [onclose] once, for good
 * @property {(now: number, before: number) => void} [onGeneration] the state behind the socket is a new one; before onopen
 * @property {(status: "connecting" | "open" | "waiting" | "closed", e: { attempt: number, delay?: number, end?: End }) => void} [onstatus]
 *
 * @typedef {object} SocketOptions
 * @property {string | string[]} [protocols]
 * @property {BinaryType} [binaryType] arraybuffer unless told
 * @property {number} [queue] bytes that send keeps while there is no connection; 0 unless told
 * @property {number} [buffer] bytes that may wait to leave an open one; 4 MiB unless told
 * @property {(e: End) => boolean} [reconnect] false = this end is for good
 */

/** What Plane, or the app's endpoint, refused. The message is a sentence for people. */
export class PlaneError extends Error {
  /** @param {string} message @param {{kind?: string, status?: number, field?: string, retryAfter?: number, output?: string, id?: string, cause?: unknown}} [more] */
  constructor(message, { kind = "Other", status = 0, field = "", retryAfter = 0, output = "", id = "", cause } = {}) {
    super(message, { cause });
    this.name = "PlaneError";
    this.kind = kind; // a word for programs, such as CrashLoop
    this.status = status; // of HTTP; 0 = no answer
    this.field = field; // which is wrong
    this.retryAfter = retryAfter; // seconds
    this.output = output; // the program's last
    this.id = id; // in the controller's log
  }

  /** What an endpoint may tell a page: not the program's output. */
  toJSON() {
    return { kind: this.kind, message: this.message, field: this.field || undefined, retry_after_seconds: this.retryAfter || undefined, id: this.id || undefined };
  }
}

/** Makes an error of an answer that isn't one. @param {Response} r */
export async function failure(r) {
  const said = await r.json().catch(() => null);
  return new PlaneError(said?.message ?? `${new URL(r.url).origin} answered ${r.status}.`, {
    ...said, status: r.status, retryAfter: said?.retry_after_seconds || Number(r.headers.get("retry-after")) || 0, // a date is no number
  });
}

/** Milliseconds before a new attempt: anything between 0 and 0.25 s, doubled by each, up to 2 s in the first minute after the loss, then up to 15 s. Hidden pages have time. */
export function backOff(/** @type {number} */ attempt, sinceLoss = 0, hidden = false, random = Math.random) {
  return hidden && attempt > 1 ? 15_000 + random() * 45_000 : random() * Math.min(sinceLoss < 60_000 ? 2_000 : 15_000, 250 * 2 ** attempt);
}

/** Asks the app's endpoint, a URL or a function, and waits until the backend is ready. @param {string | URL | ((o: {signal: AbortSignal}) => Promise<Answer>)} endpoint @param {Options} [options] */
export async function connect(endpoint, options = {}) {
  const ask = typeof endpoint === "function" ? endpoint : asking(endpoint, options.request);
  return begun(new Session(ask, options, false));
}

/** The session of a page that stands below the key's own URL: no endpoint is asked. @param {string | URL | Location} [place] @param {Options} [options] */
export async function here(place = globalThis.location, options = {}) {
  const u = new URL(String(place));
  const token = /^\/(?:s\.[\w-]{43}|[\w-]{80,})\//.exec(u.pathname);
  const base = u.origin + ((token ?? /^\/~[^/]*\/[^/]+\//.exec(u.pathname))?.[0] ?? "/");
  return begun(new Session(token ? asTokenURL(base) : asKeyURL(base), options, !token));
}

/** @param {Session} s */
const begun = (s) => s.refresh().then(() => s, (err) => { s.close(); throw err; });

/** @param {AbortSignal} signal @param {number} ms */
const within = (signal, ms) => AbortSignal.any([signal, AbortSignal.timeout(ms)]);

/** @param {string | URL} endpoint @param {RequestInit} [request] */
function asking(endpoint, request) {
  return async (/** @type {{signal: AbortSignal}} */ { signal }) => {
    const headers = new Headers(request?.headers);
    if (!headers.has("accept")) headers.set("accept", "application/json");
    const r = await fetch(endpoint, { method: "POST", ...request, headers, signal: within(signal, 150_000) });
    if (!r.ok) throw await failure(r);
    return r.json().catch(() => null);
  };
}

/** A token URL leads to one backend only; that it has ended is for good. @param {string} url */
function asTokenURL(url) {
  return async (/** @type {{signal: AbortSignal}} */ { signal }) => {
    const r = await fetch(url, { method: "HEAD", cache: "no-store", signal: within(signal, 75_000) });
    if (r.status === 410) throw new PlaneError("What this address led to has ended. Open it anew.", { kind: "NotFound", status: 410 });
    return { url };
  };
}

/** A key URL leads to whatever backend the key has: its status tells which. @param {string} url */
function asKeyURL(url) {
  return async (/** @type {{signal: AbortSignal}} */ { signal }) => {
    try {
      for await (const e of events(url + "_plane/status", within(signal, 15_000))) return { url, generation: e.generation || null, backend_id: e.backend_id };
    } catch (err) {
      if (!(err instanceof PlaneError && err.status === 404)) throw err;
    }
    return { url }; // not below Plane: there are no generations
  };
}

/** The JSON of a stream's server-sent events. What isn't a stream has none. @param {string} url @param {AbortSignal} signal */
async function* events(url, signal) {
  const r = await fetch(url, { headers: { accept: "text/event-stream" }, cache: "no-store", signal });
  if (!r.ok) throw await failure(r);
  if (!r.body || !r.headers.get("content-type")?.startsWith("text/event-stream")) return void r.body?.cancel();
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let text = "", got; !(got = await reader.read()).done; ) {
      const parts = (text + got.value).split(/\r?\n\r?\n/);
      text = parts.pop() ?? "";
      for (const part of parts) {
        const data = /^data: ?(\{.*)$/m.exec(part);
        if (data) yield JSON.parse(data[1]);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One key's backend, whichever generation it is. */
export class Session {
  #ask; #floating; #options;
  #ended = new AbortController();
  /** @type {Promise<Answer> | undefined} */ #asking;
  /** @type {Set<Socket>} */ #sockets = new Set();
  /** @type {Answer} the last */ answer = { url: "" };

  /** @param {(o: {signal: AbortSignal}) => Promise<Answer>} ask @param {Options} options @param {boolean} floating the same URL may lead to another generation */
  constructor(ask, options, floating) {
    this.#ask = ask;
    this.#options = options;
    this.#floating = floating;
    const signal = options.signal;
    if (signal?.aborted) this.close();
    signal?.addEventListener("abort", () => this.close(), { once: true, signal: this.#ended.signal });
  }

  /** Where the backend is now. */
  get url() { return this.answer.url; }
  /** Which state is there: a number that rises with each new one; null = not known. */
  get generation() { return this.answer.generation ?? null; }
  /** @internal */ get floating() { return this.#floating; }
  /** @internal */ get options() { return this.#options; }

  /** Asks for a new answer, once for all who found stale to be gone. @param {Answer} [stale] @returns {Promise<Answer>} */
  refresh(stale = this.answer) {
    if (stale !== this.answer) return Promise.resolve(this.answer);
    return (this.#asking ??= this.askNow().finally(() => (this.#asking = undefined)));
  }

  /** @internal */
  async askNow() {
    const signal = this.#ended.signal;
    signal.throwIfAborted();
    const answer = await this.#ask({ signal });
    if (typeof answer?.url !== "string") throw new PlaneError("The endpoint's answer has no url. It must be what Plane's connect answered.", { kind: "BadAnswer" });
    if (answer.status_url && answer.status !== "ready") await ready(answer.status_url, signal, this.#options.random);
    signal.throwIfAborted();
    return (this.answer = answer);
  }

  /** A path below url. @param {string} path @param {Answer} [answer] @internal */
  at(path, answer = this.answer) {
    const u = new URL("./" + path.replace(/^\/+/, ""), answer.url);
    if (!u.href.startsWith(answer.url)) throw new TypeError(`The path ${path} leads out of the session's URL.`);
    return u;
  }

  /** Like fetch, below url; repeated once if Plane refused it because the token's backend has ended. @param {string} path @param {RequestInit} [init] */
  async fetch(path, init = {}) {
    /** @param {Answer} a */
    const go = (a) => fetch(this.at(path, a), { referrerPolicy: "no-referrer", ...init });
    const was = expired(this.answer) ? await this.refresh() : this.answer;
    const r = await go(was);
    if (r.status !== 410 || this.#floating || init.body instanceof ReadableStream) return r;
    const now = await this.refresh(was).catch(() => was);
    if (now.backend_id === was.backend_id && !expired(was)) return r; // the program's own 410
    await r.body?.cancel();
    return go(now);
  }

  /** A WebSocket below url that comes back. @param {string} path @param {Handlers & SocketOptions} [options] */
  socket(path, options = {}) {
    this.#ended.signal.throwIfAborted();
    const Class = this.#options.WebSocket ?? globalThis.WebSocket;
    if (!Class) throw new PlaneError("There is no WebSocket here. Use Node 22 or newer, or pass the class of the package ws as option WebSocket.");
    const s = new Socket(this, path, Class, options, () => this.#sockets.delete(s));
    this.#sockets.add(s);
    return s;
  }

  /** Closes its sockets and asks for nothing any more. The backend runs on. */
  close() {
    for (const s of this.#sockets) s.close();
    this.#ended.abort(new PlaneError("The session is closed.", { kind: "Closed" }));
  }
}

/** @param {Answer} a */
const expired = (a) => !!a.expires && Date.now() >= a.expires;

/** Waits for status ready. @param {string} url @param {AbortSignal} signal @param {() => number} [random] */
async function ready(url, signal, random) {
  for (let attempt = 0, from = Date.now(); Date.now() - from < 600_000; attempt++) {
    try {
      // Its history comes first, so that a cut costs nothing.
      for await (const e of events(url + "-stream", within(signal, 45_000))) {
        if (e.status === "ready") return;
        if (/^(hard-)?terminat/.test(e.status)) throw new PlaneError("The backend ended before it was ready.", { kind: "StartFailed", status: 503 });
      }
    } catch (err) {
      if (signal.aborted || err instanceof PlaneError && (err.kind === "StartFailed" || err.status < 500)) throw err;
    }
    await new Promise((done) => setTimeout(done, backOff(attempt, Date.now() - from, false, random)));
    signal.throwIfAborted();
  }
  throw new PlaneError("The backend didn't become ready within ten minutes.", { kind: "StartFailed", status: 503 });
}

/** What a handler throws ends nothing here, but is reported. @param {() => void} call */
function safely(call) {
  try { call(); } catch (err) { queueMicrotask(() => { throw err; }); }
}

const MOVED = 4100, REVOKED = 4103, STABLE = 10_000; // ms
const refusals = new Set([400, 401, 403, 404, 405, 410, 413, 415, 422]); // of an endpoint, that stay
const mistakes = new Set(["SyntaxError", "SecurityError"]); // of new WebSocket

/** @param {End} e */
const forGood = (e) => e.code === 1000 || e.code === REVOKED || refusals.has(e.error?.status) || e.error?.kind === "Closed" || mistakes.has(e.error?.name);
const utf8 = new TextEncoder();

/** A WebSocket that comes back. Nothing is sent twice; what was on its way when a connection broke is lost. */
export class Socket {
  #session; #path; #Class; #options; #over;
  /** @type {any} the connection that is open */ #open = null;
  /** @type {(e: End) => void} ends the connection or wait */ #stop = () => {};
  /** @type {End | undefined} */ #closed;
  /** @type {any[]} */ #queue = []; #queued = 0; #attempt = 0; #again = false;
  #lost = 0; // when, Unix milliseconds; 0 = not, or a new count begins
  #now = false; // retry wants no wait
  /** The generation that was last told. @type {number | null} */ generation;

  /** @param {Session} session @param {string} path @param {any} Class @param {Handlers & SocketOptions} options @param {() => void} over */
  constructor(session, path, Class, options, over) {
    this.#session = session; this.#path = path; this.#Class = Class; this.#options = options; this.#over = over;
    this.onopen = options.onopen; this.onmessage = options.onmessage; this.onclose = options.onclose;
    this.onGeneration = options.onGeneration; this.onstatus = options.onstatus;
    this.generation = session.generation;
    session.at(path); // throws
    this.#run();
  }

  /** As of a WebSocket: 0 = none yet, or none again; 1 = open; 3 = closed for good. */
  get readyState() { return this.#closed ? 3 : this.#open ? 1 : 0; }
  /** Bytes that wait here. */
  get bufferedAmount() { return this.#queued + (this.#open?.bufferedAmount ?? 0); }

  /** Reports whether data was taken: sent, or kept up to the limits of queue and buffer. @param {string | ArrayBuffer | ArrayBufferView | Blob} data */
  send(data) {
    const size = typeof data === "string" ? utf8.encode(data).length : data instanceof Blob ? data.size : data.byteLength;
    if (this.#open?.readyState === 1) {
      if (this.#open.bufferedAmount + size > (this.#options.buffer ?? 4 << 20)) return false;
      this.#open.send(data);
      return true;
    }
    if (this.#closed || this.#queued + size > (this.#options.queue ?? 0)) return false;
    this.#queued += size;
    this.#queue.push(ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice() : data.slice(0)); // the caller's may change
    return true;
  }

  /** Takes back what is queued: in onGeneration, if it was meant for the old state. @returns {any[]} */
  unsent() {
    const q = this.#queue;
    this.#queue = []; this.#queued = 0;
    return q;
  }

  /** Tries at once, whatever it waits for, and counts attempts anew. Open and closed ones stay as they are. */
  retry() {
    if (this.#closed || this.#open) return;
    this.#attempt = this.#lost = 0;
    this.#now = true;
    this.#stop({ code: 1006, reason: "tried anew" });
  }

  /** Closes for good. */
  close(code = 1000, reason = "") {
    if (this.#closed) return;
    this.#closed = { code, reason };
    this.#stop(this.#closed);
  }

  async #run() {
    let answer = this.#session.answer, stale = false;
    await null; // so that the caller has the socket before a handler is called
    while (!this.#closed) {
      this.#tell("connecting");
      /** @type {End} */ let end, since = 0;
      try {
        if (stale || expired(answer)) answer = await Promise.race([this.#session.refresh(answer), new Promise((_, stop) => (this.#stop = stop))]);
        else answer = this.#session.answer;
        if (this.#closed) break;
        end = await this.#live(answer, () => (since = Date.now()));
      } catch (error) {
        end = { code: 1006, reason: String(/** @type {any} */ (error)?.message ?? error), error };
      }
      if (this.#closed) break;
      if (forGood(end) || this.#options.reconnect?.(end) === false) this.#closed = end;
      else {
        stale = !since || end.code >= MOVED && end.code < REVOKED;
        if (since && Date.now() - since >= STABLE) this.#attempt = this.#lost = 0;
        if (!this.#now) await this.#wait(end);
        this.#now = false;
        this.#attempt++;
      }
    }
    this.unsent();
    this.#over();
    this.#tell("closed", { end: this.#closed });
    safely(() => this.onclose?.(/** @type {End} */ (this.#closed)));
  }

  /** One connection, to its end. @param {Answer} answer @param {() => void} opened @returns {Promise<End>} */
  #live(answer, opened) {
    return new Promise((resolve) => {
      const u = this.#session.at(this.#path, answer);
      u.protocol = u.protocol.replace("http", "ws");
      const ws = new this.#Class(u.href, this.#options.protocols ?? []);
      /** @type {any[] | null} messages before the generation is known */ let held = [];
      const late = setTimeout(() => stop({ code: 1006, reason: "no connection within 75 s" }), 75_000);
      const done = (/** @type {End} */ e) => {
        clearTimeout(late);
        this.#open = null;
        ws.onopen = ws.onmessage = ws.onclose = null; // onerror stays: the package ws throws what nobody hears
        resolve(e);
      };
      const stop = this.#stop = (/** @type {End} */ e) => {
        if (!ws.onclose) return;
        done(e);
        ws.close(...(e.code === 1000 || e.code >= 3000 ? [e.code, e.reason] : []));
      };
      ws.binaryType = this.#options.binaryType ?? "arraybuffer";
      ws.onerror = () => {};
      ws.onclose = (/** @type {CloseEvent} */ e) => done({ code: e.code, reason: e.reason });
      ws.onmessage = (/** @type {MessageEvent} */ e) => (held ? held.push(e) : this.onmessage?.(e));
      ws.onopen = async () => {
        // A key URL doesn't say whose socket this is: the status after its opening does.
        const a = this.#session.floating ? await this.#session.askNow().catch((error) => stop({ code: 1006, reason: error.message, error })) : answer;
        if (!a || !ws.onclose) return;
        clearTimeout(late);
        opened();
        this.#opened(ws, a.generation ?? null);
        for (const m of held ?? []) if (ws.onmessage) safely(() => this.onmessage?.(m));
        held = null;
      };
    });
  }

  /** @param {any} ws @param {number | null} generation */
  #opened(ws, generation) {
    const before = this.generation, again = this.#again;
    this.generation = generation ?? before;
    this.#again = true;
    this.#now = false;
    if (before !== null && generation !== null && generation !== before) safely(() => this.onGeneration?.(generation, before));
    if (!ws.onclose) return; // closed by it
    this.#open = ws;
    for (const data of this.unsent()) ws.send(data);
    this.#tell("open");
    safely(() => this.onopen?.({ generation: this.generation, again }));
  }

  /** Waits before the next attempt, less if somebody looks at the page or the network is back. @param {End} end @returns {Promise<void>} */
  #wait(end) {
    const hint = end.error?.retryAfter || (end.code === 1013 && Number(/\d+(\.\d+)?/.exec(end.reason)?.[0])) || 0; // seconds
    // Not asked is navigator.onLine: it is false on a machine without network too, whose own Plane is there all the same.
    const hidden = () => globalThis.document?.visibilityState === "hidden";
    const least = Math.min(hint, 60) * 1000, from = Date.now();
    this.#lost ||= from;
    const delay = least + backOff(this.#attempt, from - this.#lost, hidden(), this.#session.options.random);
    this.#tell("waiting", { delay, end });
    return new Promise((resolve) => {
      const over = new AbortController();
      const timer = setTimeout(() => this.#stop(end), delay);
      const wake = () => hidden() || Date.now() - from < least || this.retry();
      globalThis.document?.addEventListener("visibilitychange", wake, { signal: over.signal });
      for (const e of ["online", "focus"]) globalThis.addEventListener?.(e, wake, { signal: over.signal });
      this.#stop = () => { clearTimeout(timer); over.abort(); resolve(); };
    });
  }

  /** @param {"connecting" | "open" | "waiting" | "closed"} status @param {{delay?: number, end?: End}} [more] */
  #tell(status, more) { safely(() => this.onstatus?.(status, { attempt: this.#attempt, ...more })); }
}
