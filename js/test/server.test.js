import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { inspect } from "node:util";
import { test } from "node:test";
import { Plane, PlaneError } from "../src/server.js";

const answer = { backend_id: "b1", url: "http://localhost:9090/t/", status: "ready", secret_token: "hush", generation: 3 };

/** A controller of one function. */
const withController = (name, serve, run) => test(name, { timeout: 30_000 }, async () => {
  const calls = [];
  const server = createServer(async (req, res) => {
    let body = "";
    for await (const b of req) body += b;
    calls.push({ path: req.url, auth: req.headers.authorization, type: req.headers["content-type"], body: JSON.parse(body || "null") });
    serve(res, calls.length);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await run(`127.0.0.1:${server.address().port}`, calls);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
const say = (res, status, body, headers = {}) => res.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
const busy = (seconds, kind = "DataUnavailable") => ({ id: "e1", kind, message: "Later.", retry_after_seconds: seconds, output: "boom" });

withController("connect speaks the HTTP API, and its secret isn't in JSON", (res) => say(res, 200, answer), async (host, calls) => {
  const p = new Plane({ controller: `http://a%20b:pw@${host}/prefix/`, apiKey: "other" });
  const got = await p.connect({ key: "doc-1", app: "board", user: "ann", auth: { role: "x" }, wait: "ready", waitSeconds: 30, tokenLifetimeSeconds: 60, port: "metrics", spawnConfig: { max_idle_seconds: 5 } });
  await p.connect({ key: { name: "n", namespace: "team", tag: "v" } });
  await p.connect();
  assert.equal(got.secret_token, "hush");
  assert.ok(!JSON.stringify(got).includes("hush"));
  assert.deepEqual(calls[0], {
    path: "/ctrl/connect", auth: "Bearer a%20b", type: "application/json",
    body: { key: { name: "doc-1" }, app: "board", spawn_config: { max_idle_seconds: 5 }, user: "ann", auth: { role: "x" }, wait: "ready", wait_seconds: 30, token_lifetime_seconds: 60, port: "metrics" },
  });
  assert.deepEqual([calls[1].body, calls[2].body], [{ key: { name: "n", namespace: "team", tag: "v" } }, {}]);
  assert.ok(!inspect(p, { showHidden: true, depth: 9 }).includes("a%20b"));
});

withController("errors are those of the controller", (res) => say(res, 422, { id: "e1", kind: "BadRequest", message: "No such app.", field: "app" }), async (host, calls) => {
  const p = new Plane({ controller: `http://${host}` });
  await assert.rejects(p.connect({ app: "no" }), (e) => e instanceof PlaneError && e.kind === "BadRequest" && e.field === "app" && e.status === 422 && e.message === "No such app." && e.id === "e1");
  assert.equal(calls.length, 1);
});

withController("a 503 that says when is tried again then", (res, n) => (n < 3 ? say(res, 503, busy(0.05)) : say(res, 200, answer)), async (host, calls) => {
  assert.equal((await new Plane({ controller: `http://${host}` }).connect()).generation, 3);
  assert.equal(calls.length, 3);
});

withController("but not for ever, nor for what ends after each start, nor without a time", (res, n) => say(res, 503, [busy(0.2), busy(0.2), busy(0.2), busy(9), busy(0.01, "CrashLoop"), busy(0)][n - 1]), async (host, calls) => {
  await assert.rejects(new Plane({ controller: `http://${host}`, retryFor: 500 }).connect(), { kind: "DataUnavailable", retryAfter: 0.2 });
  assert.equal(calls.length, 3);
  const p = new Plane({ controller: `http://${host}` });
  await assert.rejects(p.connect(), { kind: "DataUnavailable", retryAfter: 9 });
  await assert.rejects(p.connect(), { kind: "CrashLoop", output: "boom" });
  await assert.rejects(p.connect(), { kind: "DataUnavailable" });
  assert.equal(calls.length, 6);
});

withController("time-outs, aborts and absence", () => {}, async (host, calls) => {
  await assert.rejects(new Plane({ controller: `http://${host}`, timeout: 50 }).connect(), (e) => e.kind === "Unreachable" && /in time/.test(e.message));
  const stop = new AbortController();
  const asked = calls.length;
  const look = setInterval(() => {
    if (calls.length === asked) return;
    clearInterval(look);
    stop.abort(new Error("enough"));
  }, 5);
  await assert.rejects(new Plane({ controller: `http://${host}` }).connect({ signal: stop.signal }), { message: "enough" });
  assert.equal(calls.length, asked + 1); // what was given up isn't tried again
  await assert.rejects(new Plane({ controller: "http://127.0.0.1:1" }).connect(), { kind: "Unreachable" });
  for (const controller of ["localhost:8080", "ftp://a", "http://"]) assert.throws(() => new Plane({ controller }), { field: "controller" }, controller);
});

withController("terminate and revoke", (res) => say(res, 200, null), async (host, calls) => {
  const p = new Plane({ controller: `http://${host}` });
  await p.terminate("a/b");
  await p.terminate("b", "hard");
  await p.revoke("b", "ann");
  assert.deepEqual(calls.map((c) => [c.path, c.body]), [["/ctrl/b/a%2Fb/soft-terminate", null], ["/ctrl/b/b/hard-terminate", null], ["/ctrl/b/revoke", { backend_id: "b", user: "ann" }]]);
});
