// A small app of one page: each path is a document, which is a key of Plane.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Plane } from "../src/server.js"; // in an app: "plane-client/server"

const plane = new Plane(); // $PLANE_CONTROLLER, $PLANE_API_KEY
// What to start: an app of that name, or what plane dev serves.
const runs = process.env.PLANE_APP ? { app: process.env.PLANE_APP } : { spawnConfig: {} };
const page = readFileSync(new URL("page.html", import.meta.url));
const client = readFileSync(new URL("../src/plane.js", import.meta.url));

async function connect(req, res) {
  // Here an app decides who may open what. Pages of other sites may not start anything.
  if (req.headers["sec-fetch-site"] === "cross-site") return res.writeHead(403).end();
  const answer = (status, body) => res.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" }).end(JSON.stringify(body));
  try {
    answer(200, await plane.connect({ key: decodeURIComponent(req.url.slice("/connect/".length)), ...runs, user: "guest" }));
  } catch (err) {
    answer(err.status || 502, err); // its JSON is what the page's PlaneError is made of
  }
}

createServer((req, res) => {
  if (req.method === "POST" && req.url.startsWith("/connect/")) return connect(req, res);
  if (req.url === "/plane.js") return res.writeHead(200, { "content-type": "text/javascript" }).end(client);
  res.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page);
}).listen(process.env.PORT ?? 3000, "127.0.0.1", function () {
  console.log(`Open http://localhost:${this.address().port}/document-1`);
});
