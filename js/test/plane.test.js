import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mock, test } from "node:test";
import { WebSocket } from "ws";
import { backOff, connect, here, PlaneError } from "../src/plane.js";
import { noted, until, World } from "./world.js";

/** Runs a test with a world of its own. */
const inWorld = (name, run) => test(name, { timeout: 60_000 }, async () => {
  const w = await new World().open();
  try {
    await run(w);
  } finally {
    await w.shut();
  }
});

test("pauses are anything between nothing and a bound that doubles, up to 2 s in the first minute and then up to 15 s", () => {
  for (let attempt = 0; attempt < 2000; attempt++) {
    for (const [sinceLoss, most] of [[0, 2_000], [59_999, 2_000], [60_000, 15_000], [1e9, 15_000]]) {
      const bound = Math.min(most, 250 * 2 ** attempt);
      for (const r of [0, 0.5, 0.999999, Math.random()]) {
        const d = backOff(attempt, sinceLoss, false, () => r);
        assert.ok(d >= 0 && d < bound && Math.abs(d - r * bound) < 1e-6, `${attempt} ${sinceLoss} ${r} ${d}`);
        const hidden = backOff(attempt, sinceLoss, true, () => r);
        assert.ok(attempt < 2 ? hidden === d : hidden >= 15_000 && hidden < 60_000, `hidden ${attempt} ${r} ${hidden}`);
      }
    }
  }
});

inWorld("connect waits until the backend is ready", async (w) => {
  w.statuses = ["scheduled"];
  setTimeout(() => (w.statuses = ["scheduled", "waiting", "ready"]), 300);
  const from = Date.now();
  const s = await w.connect();
  assert.ok(Date.now() - from >= 290);
  assert.equal(s.generation, 1);
  assert.equal(s.url, `${w.origin}/t1-1/`);
});

inWorld("a backend that ends before it is ready is an error", async (w) => {
  w.statuses = ["scheduled", "starting", "terminated"];
  await assert.rejects(w.connect(), (e) => e instanceof PlaneError && e.kind === "StartFailed");
});

inWorld("what Plane refused comes through the endpoint as it was said", async (w) => {
  w.refuse = (req, res) => {
    res.writeHead(503, { "content-type": "application/json", "retry-after": "4" });
    return res.end(JSON.stringify({ id: "k3v", kind: "CrashLoop", message: "It ends.", output: "boom", retry_after_seconds: 4 }));
  };
  await assert.rejects(w.connect(), { name: "PlaneError", kind: "CrashLoop", message: "It ends.", status: 503, retryAfter: 4, output: "boom", id: "k3v" });
  await assert.rejects(connect(async () => ({ nothing: 1 })), { kind: "BadAnswer" });
});

inWorld("a broken connection comes back with the same token", async (w) => {
  const s = await w.connect(), h = noted();
  s.socket("ws", h);
  await until(() => h.log.includes("message hello 1"));
  for (const ws of w.sockets) ws.terminate();
  await until(() => h.log.length === 4);
  assert.deepEqual(h.log, ["open 1", "message hello 1", "open 1 again", "message hello 1"]);
  assert.equal(w.asked, 1);
  s.close();
});

inWorld("a token that is gone is replaced, once for all sockets, and the new state is told before its first message", async (w) => {
  const s = await w.connect(), first = s.answer, all = [noted(), noted(), noted()];
  for (const h of all) s.socket("ws", h);
  for (let n = 2; n < 5; n++) {
    await until(() => all.every((h) => h.log.at(-1) === `message hello ${n - 1}`));
    w.die();
  }
  await until(() => all.every((h) => h.log.at(-1) === "message hello 4"));
  for (const h of all) {
    assert.deepEqual(h.log, ["open 1", "message hello 1", "generation 1 to 2", "open 2 again", "message hello 2", "generation 2 to 3", "open 3 again", "message hello 3", "generation 3 to 4", "open 4 again", "message hello 4"]);
  }
  assert.equal((await s.refresh(first)).generation, 4); // who comes late finds it done
  assert.equal(w.asked, 4);
  assert.equal(s.generation, 4);
  s.close();
});

inWorld("a token past its time isn't tried", async (w) => {
  const s = w.keep(await connect(async () => (w.asked++, { ...w.answer(), status: "ready", expires: Date.now() + 200 }), { WebSocket, random: () => 0.02 }));
  const h = noted();
  s.socket("ws", h);
  await until(() => h.log.length === 2);
  await new Promise((r) => setTimeout(r, 250));
  const tries = w.tries;
  for (const ws of w.sockets) ws.terminate();
  await until(() => h.log.length === 4);
  assert.deepEqual([w.asked, w.tries], [2, tries + 1]);
  s.close();
});

inWorld("send queues up to its limit while there is no connection, in order, and says what it didn't take", async (w) => {
  const s = await w.connect();
  const none = s.socket("ws");
  assert.equal(none.send("x"), false);
  const sock = s.socket("ws", { queue: 10 });
  const bytes = new Uint8Array([1, 2, 3]);
  assert.deepEqual([sock.send("äö"), sock.send(bytes), sock.send("1234"), sock.send("123")], [true, true, false, true]);
  assert.equal(sock.bufferedAmount, 10);
  bytes.fill(9); // it is the caller's
  await until(() => w.got.length === 3);
  assert.deepEqual(w.got, ["äö", new Uint8Array([1, 2, 3]), "123"]);
  s.close();
  assert.equal(sock.send("x"), false);
});

inWorld("what was queued for an old state can be taken back", async (w) => {
  const s = await w.connect(), back = [];
  const sock = s.socket("ws", { queue: 100, onGeneration: () => back.push(...sock.unsent()) });
  await until(() => sock.readyState === 1);
  w.die();
  await until(() => sock.readyState === 0);
  assert.ok(sock.send("for generation 1"));
  await until(() => sock.readyState === 1);
  sock.send("for generation 2");
  await until(() => w.got.length);
  assert.deepEqual([back, w.got], [["for generation 1"], ["for generation 2"]]);
  s.close();
});

inWorld("a slow backend holds up at most the buffer", async (w) => {
  const s = await w.connect();
  const sock = s.socket("ws", { buffer: 1 << 20 });
  await until(() => sock.readyState === 1 && w.sockets.size === 1);
  for (const ws of w.sockets) ws.pause();
  const piece = new Uint8Array(1 << 18);
  let taken = 0;
  while (sock.send(piece)) assert.ok(++taken < 1000);
  assert.ok(sock.bufferedAmount <= (1 << 20) + 64, `${sock.bufferedAmount}`); // and the frames' heads
  for (const ws of w.sockets) ws.resume();
  await until(() => w.got.length === taken && sock.send(piece));
  s.close();
});

for (const code of [4100, 4101, 4102]) {
  inWorld(`close code ${code} asks for a new token at once`, async (w) => {
    const s = await w.connect(), h = noted();
    s.socket("ws", h);
    await until(() => w.sockets.size === 1 && h.log.length === 2);
    w.generation++;
    for (const ws of w.sockets) ws.close(code);
    await until(() => h.log.at(-1) === "message hello 2");
    assert.deepEqual([w.asked, w.tries], [2, 2]);
    s.close();
  });
}

for (const code of [4103, 1000]) {
  inWorld(`close code ${code} is for good`, async (w) => {
    const s = await w.connect(), h = noted();
    const sock = s.socket("ws", h);
    await until(() => w.sockets.size === 1 && h.log.length === 2);
    for (const ws of w.sockets) ws.close(code);
    await until(() => sock.readyState === 3);
    assert.deepEqual(h.log, ["open 1", "message hello 1", `close ${code}`]);
    assert.deepEqual([w.asked, w.tries], [1, 1]);
  });
}

inWorld("close code 1013 waits as long as it says, and other codes are the program's to judge", async (w) => {
  const s = await w.connect(), delays = [];
  const sock = s.socket("ws", { onstatus: (status, e) => status === "waiting" && delays.push(e.delay), reconnect: (e) => e.code !== 4001 });
  await until(() => w.sockets.size === 1);
  const from = Date.now();
  for (const ws of w.sockets) ws.close(1013, "retry-after=1");
  await until(() => w.tries === 2 && sock.readyState === 1);
  assert.ok(delays[0] >= 1000 && delays[0] <= 1250 && Date.now() - from >= 990, `${delays}`);
  for (const ws of w.sockets) ws.close(4001);
  await until(() => sock.readyState === 3);
  s.close();
});

inWorld("an endpoint that lets nobody in ends the socket, one that is away doesn't", async (w) => {
  const s = await w.connect(), h = noted();
  s.socket("ws", h);
  await until(() => h.log.length === 2);
  let refusals = 0;
  w.refuse = (req, res) => req.url === "/connect" && (refusals++, res.writeHead(refusals < 4 ? 502 : 403, { "content-type": "application/json" }).end('{"kind":"Forbidden","message":"No."}'));
  w.die();
  await until(() => h.log.at(-1) === "close 1006");
  assert.equal(refusals, 4);
  s.close();
});

inWorld("a key URL's messages wait until it is known whose they are", async (w) => {
  for (const path of ["/", "/~/doc/index.html", "/~board/a%2Fb/deep/er"]) {
    w.generation = 1;
    const s = w.keep(await here(w.origin + path, { WebSocket, random: () => 0.02 })), h = noted();
    assert.equal(s.url, w.origin + { "/": "/", "/~/doc/index.html": "/~/doc/", "/~board/a%2Fb/deep/er": "/~board/a%2Fb/" }[path]);
    s.socket("ws", h);
    await until(() => h.log.length === 2);
    w.die();
    await until(() => h.log.length === 5);
    assert.deepEqual(h.log, ["open 1", "message hello 1", "generation 1 to 2", "open 2 again", "message hello 2"]);
    s.close();
  }
});

inWorld("a page that Plane doesn't serve has sockets without generations", async (w) => {
  w.refuse = (req, res) => req.url.endsWith("/_plane/status") && res.writeHead(404).end();
  const s = w.keep(await here(`${w.origin}/`, { WebSocket, random: () => 0.02 })), h = noted();
  s.socket("ws", h);
  await until(() => h.log.length === 2);
  w.die();
  await until(() => h.log.length === 4);
  assert.deepEqual(h.log, ["open null", "message hello 1", "open null again", "message hello 2"]);
  s.close();
});

inWorld("a page below a token URL ends with its backend", async (w) => {
  const token = "A".repeat(100);
  const s = w.keep(await here(`${w.origin}/${token}/page`, { WebSocket, random: () => 0.02 })), h = noted();
  assert.equal(s.url, `${w.origin}/${token}/`);
  s.socket("ws", h);
  await until(() => h.log.length === 2);
  w.refuse = (req, res) => (res?.writeHead(410).end(), true);
  w.die();
  await until(() => h.log.at(-1) === "close 1006");
});

inWorld("fetch asks again when its token is gone, and leaves the program's own 410 alone", async (w) => {
  const s = await w.connect();
  w.die();
  const r = await s.fetch("/a?b=1", { method: "POST", body: "x" });
  assert.deepEqual(await r.json(), { path: "/t2-2/a?b=1", method: "POST", generation: 2 });
  let own = 0;
  w.refuse = (req, res) => req.url.endsWith("/own") && (own++, res.writeHead(410).end());
  assert.equal((await s.fetch("own")).status, 410);
  assert.equal(own, 1);
  for (const path of ["../x", "%2e%2e/x", "a/../../x"]) await assert.rejects(s.fetch(path), TypeError, path);
  assert.equal((await (await s.fetch("//evil.test/x")).json()).path, "/t3-2/evil.test/x");
  s.close();
});

inWorld("a handler that throws is reported and ends nothing", async (w) => {
  const s = await w.connect(), h = noted(), thrown = [];
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (e) => thrown.push(e.message));
  try {
    s.socket("ws", { ...h, onopen: () => { throw new Error("in onopen"); } });
    await until(() => h.log.length === 1 && thrown.length);
    w.die();
    await until(() => h.log.at(-1) === "message hello 2" && thrown.length === 2);
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const l of listeners) process.on("uncaughtException", l);
  }
  assert.deepEqual(thrown, ["in onopen", "in onopen"]);
  s.close();
});

test("without a WebSocket it says what to do", { skip: !!globalThis.WebSocket }, async () => {
  const s = await connect(async () => ({ url: "http://127.0.0.1:1/" }));
  assert.throws(() => s.socket("ws"), /option WebSocket/);
});

inWorld("hidden pages wait longer, and come back when they are looked at", async (w) => {
  globalThis.document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  try {
    const s = await w.connect(), waits = [];
    const sock = s.socket("ws", { onstatus: (status, e) => status === "waiting" && waits.push(e.delay) });
    await until(() => sock.readyState === 1);
    w.refuse = (req, res) => (res?.destroy(), true); // nothing is to be had
    for (const ws of w.sockets) ws.terminate();
    await until(() => waits.some((d) => d >= 15_000));
    const tries = w.tries;
    w.refuse = null;
    document.dispatchEvent(new Event("visibilitychange")); // still hidden
    await new Promise((r) => setTimeout(r, 50));
    assert.equal(w.tries, tries);
    document.visibilityState = "visible";
    document.dispatchEvent(new Event("visibilitychange"));
    await until(() => sock.readyState === 1);
    s.close();
  } finally {
    delete globalThis.document;
  }
});

/** A page whose clock the test moves, and whose socket meets nobody. */
class Lost {
  page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  window = new EventTarget();
  tries = []; // when, ms after the beginning
  hanging = false; // what is dialled doesn't answer
  #was = {};

  async run(test) {
    const { page, window, tries } = this, lost = this, from = Date.now();
    const globals = { document: page, navigator: { onLine: false }, addEventListener: window.addEventListener.bind(window) };
    for (const [name, value] of Object.entries(globals)) {
      this.#was[name] = Object.getOwnPropertyDescriptor(globalThis, name);
      Object.defineProperty(globalThis, name, { value, configurable: true });
    }
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: from });
    const Refused = class {
      constructor() {
        tries.push(Date.now() - from);
        if (!lost.hanging) queueMicrotask(() => this.onclose?.({ code: 1006, reason: "" }));
      }
      close() {}
    };
    const s = await connect(async () => ({ url: "http://board.test/" }), { WebSocket: Refused, random: () => 0.999 });
    try {
      await test(s.socket("ws"));
    } finally {
      s.close();
      mock.timers.reset();
      for (const [name, was] of Object.entries(this.#was)) {
        delete globalThis[name];
        if (was) Object.defineProperty(globalThis, name, was);
      }
    }
  }

  /** Lets time go by. */
  async pass(ms) {
    for (let n = 0; n <= ms; n += 50) {
      await new Promise((done) => setImmediate(done));
      if (n < ms) mock.timers.tick(50);
    }
  }

  /** The longest time without an attempt between two times. */
  gap(from, to) {
    const at = [from, ...this.tries.filter((t) => t >= from && t <= to), to];
    return Math.max(...at.slice(1).map((t, i) => t - at[i]));
  }
}

test("a page that is looked at tries every two seconds for a minute, also where the browser believes that there is no network", async () => {
  const l = new Lost();
  await l.run(async () => {
    await l.pass(180_000);
    assert.ok(l.gap(0, 60_000) <= 2_050, `in the first minute ${l.gap(0, 60_000)} ms without an attempt: ${l.tries}`);
    const later = l.gap(65_000, 180_000);
    assert.ok(later > 10_000 && later <= 15_050, `later ${later} ms without an attempt: ${l.tries}`);
  });
});

test("what shows that somebody waits, or that the network is back, is an attempt at once and a new first minute", async () => {
  const l = new Lost();
  await l.run(async (socket) => {
    const calls = {
      online: () => l.window.dispatchEvent(new Event("online")),
      focus: () => l.window.dispatchEvent(new Event("focus")),
      visibilitychange: () => l.page.dispatchEvent(new Event("visibilitychange")),
      retry: () => socket.retry(),
    };
    for (const [name, call] of Object.entries(calls)) {
      await l.pass(150_000);
      const n = l.tries.length, at = l.tries.at(-1);
      call();
      await l.pass(0);
      assert.equal(l.tries.length, n + 1, name);
      const from = l.tries.at(-1);
      assert.ok(from > at, name);
      await l.pass(60_000);
      assert.ok(l.gap(from, from + 60_000) <= 2_050, `${name}: ${l.tries.slice(n)}`);
    }
  });
});

test("retry gives up an attempt that hangs and begins another one, but not for a closed socket", async () => {
  const l = new Lost();
  await l.run(async (socket) => {
    l.hanging = true;
    await l.pass(3_000);
    const n = l.tries.length;
    await l.pass(20_000);
    assert.equal(l.tries.length, n); // it hangs
    l.hanging = false;
    socket.retry();
    await l.pass(0);
    assert.equal(l.tries.length, n + 1);
    socket.close();
    socket.retry();
    await l.pass(0);
    assert.equal(socket.readyState, 3);
  });
});

inWorld("nothing is left when a session is closed, wherever it stands", async (w) => {
  const script = `
    import { WebSocket } from "ws";
    import { connect, here } from ${JSON.stringify(new URL("../src/plane.js", import.meta.url).href)};
    const origin = ${JSON.stringify(w.origin)}, go = (path) => connect(origin + "/connect", { WebSocket });
    let asked = 0; // the second time it is told to wait for long
    const later = async () => { if (asked++) throw Object.assign(new Error(), { retryAfter: 50 }); return { url: origin + "/t0-1/" } };
    const [open, waiting, asking] = await Promise.all([go(), connect(later, { WebSocket }), go()]);
    const opened = await new Promise((done) => { const s = open.socket("ws", { onopen: () => done(s) }) });
    await new Promise((done) => waiting.socket("none", { onstatus: (status, e) => status === "waiting" && e.delay > 40_000 && done() }));
    asking.socket("none");
    for (const s of [open, waiting, asking]) s.close();
    console.log(opened.readyState);`;
  w.refuse = (req, res) => !res && req.url.endsWith("none");
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { cwd: new URL("..", import.meta.url), stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (b) => (said += b));
  const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
  const [code] = await once(child, "exit");
  clearTimeout(late);
  assert.deepEqual([code, said], [0, "3\n"]);
});
