// A room in memory: whoever is connected reads what the others say. Nothing
// here knows of Plane; that each room has a process of its own is Plane's doing.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const page = readFileSync(new URL("page.html", import.meta.url));
const said = []; // the last lines

const server = createServer((req, res) => {
  if (new URL(req.url, "http://room").pathname !== "/") return res.writeHead(404).end("Not found.\n");
  res.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(page);
});
const sockets = new WebSocketServer({ server, path: "/ws", maxPayload: 1000 });

sockets.on("connection", (socket) => {
  for (const line of said) socket.send(line);
  socket.on("error", () => socket.terminate());
  socket.on("message", (text) => {
    const line = text.toString();
    said.push(line);
    if (said.length > 50) said.shift();
    for (const s of sockets.clients) if (s.bufferedAmount < 1e6) s.send(line);
  });
});

server.listen(process.env.PORT ?? 8000, process.env.HOST ?? "127.0.0.1", () => console.log("listening on port", server.address().port));
process.on("SIGTERM", () => {
  for (const s of sockets.clients) s.close(1001, "the room closes");
  server.close();
});
