// Mouse, finger, pen and keys become strokes and erasures.

import { WIDTH, HEIGHT } from "./sheet.js";
import { newID } from "./board.js";

const MOST_POINTS = 900; // of one stroke; what is longer goes on as another
const PIECE = 40; // ms between pieces of an unfinished stroke
const RUBBER = 90; // radius

export class Pen {
  tool = "pen"; color = "ink"; width = 40;
  history = []; // my changes, the last one at the end
  #down = new Map(); // by pointer
  #key = null; // the pen that arrow keys move

  constructor(sheet, board, me) {
    this.sheet = sheet; this.board = board; this.me = me;
    const p = sheet.paper;
    p.addEventListener("pointerdown", (e) => {
      if (e.button > 0 && !(e.buttons & 32)) return;
      e.preventDefault();
      p.focus({ preventScroll: true, focusVisible: false });
      p.setPointerCapture(e.pointerId);
      this.#down.set(e.pointerId, this.begin(sheet.at(e.clientX, e.clientY), e.buttons & 32 ? "eraser" : this.tool)); // 32: a pen's other end
    });
    p.addEventListener("pointermove", (e) => {
      this.point(sheet.at(e.clientX, e.clientY));
      const d = this.#down.get(e.pointerId);
      if (!d) return;
      const events = e.getCoalescedEvents?.() ?? [];
      for (const c of events.length ? events : [e]) this.move(d, sheet.at(c.clientX, c.clientY));
    });
    for (const kind of ["pointerup", "pointercancel"]) p.addEventListener(kind, (e) => {
      const d = this.#down.get(e.pointerId);
      this.#down.delete(e.pointerId);
      if (d) this.end(d);
      if (e.pointerType !== "mouse") this.point(null);
    });
    p.addEventListener("pointerleave", () => this.point(null));
    p.addEventListener("keydown", (e) => this.keyed(e));
    p.addEventListener("blur", () => this.lift());
  }

  // point tells others where I am, as often as they can see it.
  point(at) {
    this.cursor = at;
    this.telling ??= setTimeout(() => {
      this.telling = undefined;
      if (this.board.loaded) this.board.say({ type: "cursor", cursor: this.cursor });
    }, PIECE);
  }

  begin(at, tool) {
    if (tool === "eraser") {
      const d = { at, erased: [] };
      this.rub(d, at);
      return d;
    }
    const stroke = { id: newID(), by: this.me.author, color: this.color, width: this.width, points: [...at] };
    this.sheet.sketches.set(stroke.id, stroke);
    this.sheet.draw("ink");
    return { at, stroke, told: 0, when: 0 };
  }

  move(d, at) {
    if (!d.stroke) return this.rub(d, at);
    if (Math.hypot(at[0] - d.at[0], at[1] - d.at[1]) < 8) return;
    d.at = at;
    d.stroke.points.push(...at);
    this.sheet.draw("ink");
    const now = performance.now();
    if (now - d.when >= PIECE && this.board.loaded) {
      const { points, ...pen } = d.stroke;
      this.board.say({ type: "draw", draw: { ...pen, points: points.slice(d.told) } });
      d.told = points.length;
      d.when = now;
    }
    if (d.stroke.points.length >= 2 * MOST_POINTS) {
      this.end(d);
      Object.assign(d, this.begin(at, "pen"));
    }
  }

  rub(d, at) {
    const found = this.sheet.touched(d.at, at, RUBBER);
    d.at = at;
    for (const s of found) { this.sheet.hidden.add(s.id); d.erased.push(s); }
    if (found.length) this.sheet.draw("paper");
  }

  end(d) {
    if (!d.stroke) return this.erase(d.erased);
    this.sheet.sketches.delete(d.stroke.id);
    this.sheet.draw("ink");
    this.add(d.stroke);
  }

  add(stroke) {
    if (this.board.change({ id: stroke.id, add: stroke })) this.history.push({ added: stroke.id });
  }

  erase(strokes) {
    for (let rest = strokes; rest.length; rest = rest.slice(500)) {
      const some = rest.slice(0, 500);
      if (this.board.change({ id: newID(), remove: some.map((s) => s.id) })) this.history.push({ erased: some });
      else { for (const s of some) this.sheet.hidden.delete(s.id); this.sheet.draw("paper"); }
    }
  }

  // undo takes my last change back; after a reload, my topmost stroke.
  undo() {
    let last = this.history.pop();
    while (last?.added && !this.sheet.strokes.has(last.added)) last = this.history.pop(); // somebody else has erased it
    if (last?.erased) {
      for (const s of last.erased) {
        const { bounds, ...again } = s;
        const stroke = { ...again, id: newID(), by: this.me.author };
        this.board.change({ id: stroke.id, add: stroke });
      }
      return;
    }
    const id = last?.added ?? this.mine();
    if (id) this.board.change({ id: newID(), remove: [id] });
  }

  mine() {
    let id;
    for (const s of this.sheet.strokes.values()) if (s.by === this.me.author) id = s.id;
    return id;
  }

  keyed(e) {
    const step = e.shiftKey ? 400 : 80;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[e.key];
    if (!by && e.key !== " ") return;
    e.preventDefault();
    const from = this.#key?.at ?? this.cursor ?? [WIDTH / 2, HEIGHT / 2];
    this.#key ??= { at: from, down: null };
    if (by) {
      this.#key.at = [Math.max(0, Math.min(WIDTH, from[0] + by[0])), Math.max(0, Math.min(HEIGHT, from[1] + by[1]))];
      if (this.#key.down) this.move(this.#key.down, this.#key.at);
    } else if (this.#key.down) {
      this.end(this.#key.down);
      this.#key.down = null;
    } else this.#key.down = this.begin(from, this.tool);
    this.point(this.#key.at);
    this.onkey?.(this.#key.at, !!this.#key.down);
  }

  lift() {
    if (this.#key?.down) this.end(this.#key.down);
    this.#key = null;
    this.point(null);
    this.onkey?.(null, false);
  }
}
