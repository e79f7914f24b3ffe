// A Plane of one process for the tests: an app's endpoint, backends behind
// token URLs and a key URL, and a controller's status stream.
import { createServer } from "node:http";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { connect } from "../src/plane.js";

/** Polls until the condition gives something. */
export async function until(condition, what = condition) {
  for (const end = Date.now() + 30_000; ; await new Promise((r) => setTimeout(r, 5))) {
    const got = await condition();
    if (got) return got;
    if (Date.now() > end) throw new Error(`not within 30 s: ${what}`);
  }
}

export class World {
  generation = 1;
  tokens = 0;
  asked = 0; // how often the endpoint was
  tries = 0; // upgrades
  sockets = new Set();
  sessions = [];
  got = []; // messages
  statuses = ["scheduled", "starting", "waiting", "ready"]; // of the stream
  refuse = null; // (req, res): true = answered
  hello = "hello"; // what a backend says first
  #wss = new WebSocketServer({ noServer: true });

  async open() {
    this.server = createServer((req, res) => this.#serve(req, res));
    this.server.on("upgrade", (req, socket, head) => this.#upgrade(req, socket, head));
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  /** Closes a session at the end, so that a test that fails ends too. */
  keep(session) {
    this.sessions.push(session);
    return session;
  }

  async shut() {
    for (const s of this.sessions) s.close();
    for (const ws of this.sockets) ws.terminate();
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }

  /** What kill -9 and a new start is: sockets break, old tokens are gone. */
  die() {
    this.generation++;
    for (const ws of this.sockets) ws.terminate();
  }

  /** A session whose back-off is short. */
  async connect(options = {}) {
    return this.keep(await connect(`${this.origin}/connect`, { WebSocket, random: () => 0.02, ...options }));
  }

  answer() {
    const url = `${this.origin}/t${++this.tokens}-${this.generation}/`;
    return { url, status: "scheduled", status_url: `${this.origin}/pub/b/b${this.generation}/status`, backend_id: `b${this.generation}`, generation: this.generation, expires: null };
  }

  #serve(req, res) {
    if (this.refuse?.(req, res)) return;
    const json = (body) => res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (req.url === "/connect") {
      this.asked++;
      return json(this.answer());
    }
    if (req.url.endsWith("/status-stream") || req.url.endsWith("/_plane/status")) {
      res.writeHead(200, { "content-type": "text/event-stream" });
      const key = req.url.endsWith("/_plane/status");
      for (const status of key ? ["ready"] : this.statuses) {
        res.write(`${key ? "event: status\n" : ""}data: ${JSON.stringify({ status, generation: key ? this.generation : undefined })}\nid: ${status}\n\n`);
      }
      return key ? undefined : res.end();
    }
    if (this.#gone(req)) return res.writeHead(410).end();
    json({ path: req.url, method: req.method, generation: this.generation });
  }

  #gone(req) {
    const token = /^\/t\d+-(\d+)\//.exec(req.url);
    return token && Number(token[1]) !== this.generation;
  }

  #upgrade(req, socket, head) {
    this.tries++;
    if (this.refuse?.(req, null)) return void socket.destroy();
    if (this.#gone(req)) return void socket.end("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n");
    this.#wss.handleUpgrade(req, socket, head, (ws) => {
      this.sockets.add(ws);
      ws.on("close", () => this.sockets.delete(ws));
      ws.on("message", (data, binary) => this.got.push(binary ? new Uint8Array(data) : String(data)));
      ws.on("error", () => {});
      ws.send(`${this.hello} ${this.generation}`);
    });
  }
}

/** Notes all that a socket tells, in its order. */
export function noted(log = []) {
  return {
    log,
    onopen: (e) => log.push(`open ${e.generation}${e.again ? " again" : ""}`),
    onmessage: (e) => log.push(`message ${e.data}`),
    onclose: (e) => log.push(`close ${e.code}`),
    onGeneration: (now, before) => log.push(`generation ${before} to ${now}`),
  };
}
