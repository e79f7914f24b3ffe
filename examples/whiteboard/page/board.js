// The connection with the board's process. Changes are shown at once, and kept
// until the process says that they are saved: after a lost connection they are
// sent again, and count once.

import { here } from "./plane.js";

const MOST_UNSAVED = 300;
const OVERDUE = 3000; // ms without a connection, after which one may ask for an attempt

export class Board {
  unsaved = new Map(); // ops by id, in their order
  generation = null; // of the process that was last heard
  connected = false;
  loaded = false; // the drawing has come
  overdue = false; // the connection has been away for a while

  constructor(sheet, me, tell) {
    this.sheet = sheet; this.me = me; this.tell = tell;
    this.name = me.name; // that the process knows
    this.before = 0; // strokes that were there when the connection was lost
  }

  async run() {
    // The first look may meet a process that is just going.
    for (let wait = 250; !this.session; wait = Math.min(wait * 2, 5000)) {
      try { this.session = await here(); } catch { await new Promise((done) => setTimeout(done, wait)); }
    }
    this.socket = this.session.socket("ws?name=" + encodeURIComponent(this.me.name), {
      onmessage: (e) => this.heard(JSON.parse(e.data)),
      onstatus: (status) => {
        if (status === "waiting") this.late ??= setTimeout(() => { this.overdue = true; this.tell("status"); }, OVERDUE);
        if (status === "open" || !this.connected) return this.tell("status");
        this.connected = this.loaded = false;
        this.before = this.sheet.strokes.size;
        this.tell("status");
        this.tell("people", []);
      },
      // The process closes with a policy's code those who are too slow: they come back.
      reconnect: () => true,
    });
  }

  heard(m) {
    switch (m.type) {
      case "hello":
        clearTimeout(this.late);
        this.late = undefined;
        this.overdue = false;
        this.connected = true;
        this.hello = m;
        this.coming = [];
        break;
      case "strokes":
        this.coming.push(...m.strokes);
        if (m.last) this.load();
        break;
      case "ops":
        for (const o of m.ops) this.apply(o);
        break;
      case "saved":
        for (const id of m.ids) this.unsaved.delete(id);
        break;
      case "refused":
        this.unsaved.delete(m.id);
        this.sheet.remove([m.id]);
        this.tell("news", "Not drawn: " + m.why + ".");
        break;
      case "people": return this.tell("people", m.people);
      case "beat": return this.tell("beat", m);
    }
    this.tell("status");
  }

  // load shows the drawing that came, says so if another process has sent it,
  // and sends what isn't saved yet.
  load() {
    const { generation, restored, durable, strokes } = this.hello;
    const other = this.generation !== null && generation !== this.generation;
    this.sheet.replace(this.coming);
    this.coming = [];
    this.generation = generation;
    this.loaded = true;
    if (this.me.name !== this.name) this.say({ type: "name", name: this.me.name }); // the address has the first one
    for (const o of this.unsaved.values()) { this.apply(o); this.say({ type: "op", op: o }); }
    if (!other) return;
    const now = "This whiteboard's process was restarted. ";
    if (restored) this.tell("news", now + `The drawing is restored: ${strokes} saved stroke${strokes === 1 ? "" : "s"}.`);
    else this.tell("news", now + (this.before && !durable ? "The drawing is new: the one before was kept in memory only." : "The drawing is new."));
  }

  // change does an op here and has it saved. It reports whether it could.
  change(o) {
    if (this.unsaved.size >= MOST_UNSAVED) {
      this.tell("news", "Too much is waiting to be saved. Draw on when the connection is back.");
      return false;
    }
    this.unsaved.set(o.id, o);
    this.apply(o);
    if (this.loaded) this.say({ type: "op", op: o });
    this.tell("status");
    return true;
  }

  apply(o) {
    if (o.add && this.sheet.strokes.get(o.add.id) !== o.add) {
      this.sheet.sketches.delete(o.add.id);
      this.sheet.draw("ink");
      this.sheet.add(o.add);
    }
    if (o.remove) this.sheet.remove(o.remove);
    if (o.clear) this.sheet.replace([...this.sheet.strokes.values()].filter((s) => this.unsaved.has(s.id)));
  }

  // retry tries to connect now.
  retry() { this.socket?.retry(); }

  say(message) { return this.socket?.send(JSON.stringify(message)) ?? false; }
}

export function newID() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}
