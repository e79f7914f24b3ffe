// The sheet: what is drawn on it, and how it looks. Coordinates are tenths of
// a unit of a sheet that has the same size for everybody.

export const WIDTH = 16000, HEIGHT = 10000;

export class Sheet {
  strokes = new Map(); // by id, from the lowest to the topmost
  sketches = new Map(); // unfinished strokes, mine and those of others
  hidden = new Set(); // ids of strokes that are being erased

  constructor(box, paper, ink) {
    this.box = box; this.paper = paper; this.ink = ink;
    this.shades = {};
    this.stale = { paper: true, ink: true };
    const fit = () => this.fit();
    new ResizeObserver(fit).observe(box.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.shades = {}; this.draw("paper", "ink"); });
    // Another resolution of the screen: moved to another one, or zoomed.
    const watch = () => matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", () => { watch(); fit(); }, { once: true });
    watch();
    fit();
  }

  fit() {
    const room = this.box.parentElement.getBoundingClientRect();
    const width = Math.max(120, Math.min(room.width - 24, (room.height - 8) * WIDTH / HEIGHT));
    this.box.style.width = width + "px";
    this.box.style.height = width * HEIGHT / WIDTH + "px";
    this.scale = width / WIDTH; // CSS pixels per tenth
    for (const c of [this.paper, this.ink]) {
      c.width = Math.round(width * devicePixelRatio);
      c.height = Math.round(width * HEIGHT / WIDTH * devicePixelRatio);
    }
    const dots = (this.scale < 0.04 ? 500 : 250) * this.scale; // apart
    this.box.style.backgroundSize = `${dots}px ${dots}px`;
    this.draw("paper", "ink");
    this.onfit?.();
  }

  // at gives the sheet's coordinates of a place in the window.
  at(x, y) {
    const box = this.paper.getBoundingClientRect();
    const on = (v, most) => Math.max(0, Math.min(most, Math.round(v / this.scale)));
    return [on(x - box.left, WIDTH), on(y - box.top, HEIGHT)];
  }

  shade(name) {
    return this.shades[name] ??= getComputedStyle(document.documentElement).getPropertyValue("--" + name) || "currentColor";
  }

  add(stroke) {
    const below = this.strokes.get(stroke.id);
    this.strokes.set(stroke.id, stroke);
    // On top of all others it needs no new picture of them.
    if (below || this.stale.paper) this.draw("paper");
    else this.line(this.context(this.paper), stroke);
  }

  remove(ids) {
    for (const id of ids) { this.strokes.delete(id); this.hidden.delete(id); }
    this.draw("paper");
  }

  replace(strokes) {
    this.strokes = new Map(strokes.map((s) => [s.id, s]));
    this.hidden.clear();
    this.draw("paper");
  }

  // draw has these canvases painted anew with the next picture.
  draw(...which) {
    for (const name of which) this.stale[name] = true;
    this.asked ??= requestAnimationFrame(() => { this.asked = undefined; this.paint(); });
  }

  paint() {
    for (const name of ["paper", "ink"]) {
      if (!this.stale[name]) continue;
      this.stale[name] = false;
      const canvas = this[name], context = this.context(canvas);
      context.clearRect(0, 0, WIDTH, HEIGHT);
      for (const s of (name === "paper" ? this.strokes : this.sketches).values()) if (!this.hidden.has(s.id)) this.line(context, s);
    }
  }

  context(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(canvas.width / WIDTH, 0, 0, canvas.height / HEIGHT, 0, 0);
    return context;
  }

  // line draws through the middles between points, so that it has no corners.
  line(context, { points: p, color, width }) {
    context.strokeStyle = this.shade(color);
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(p[0], p[1]);
    let i = 2;
    for (; i < p.length - 2; i += 2) context.quadraticCurveTo(p[i], p[i + 1], (p[i] + p[i + 2]) / 2, (p[i + 1] + p[i + 3]) / 2);
    context.lineTo(p[i] ?? p[0], p[i + 1] ?? p[1]);
    context.stroke();
  }

  // touched gives the strokes that a line between two places touches.
  touched([x1, y1], [x2, y2], radius) {
    const found = [];
    for (const s of this.strokes.values()) {
      if (this.hidden.has(s.id)) continue;
      const reach = radius + s.width / 2, b = s.bounds ??= boundsOf(s.points);
      if (Math.max(x1, x2) < b[0] - reach || Math.min(x1, x2) > b[2] + reach || Math.max(y1, y2) < b[1] - reach || Math.min(y1, y2) > b[3] + reach) continue;
      const p = s.points;
      for (let i = 0; i < p.length; i += 2) {
        const j = Math.min(i + 2, p.length - 2);
        if (apart(x1, y1, x2, y2, p[i], p[i + 1], p[j], p[j + 1]) <= reach) { found.push(s); break; }
      }
    }
    return found;
  }
}

function boundsOf(p) {
  const b = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < p.length; i += 2) {
    b[0] = Math.min(b[0], p[i]); b[1] = Math.min(b[1], p[i + 1]);
    b[2] = Math.max(b[2], p[i]); b[3] = Math.max(b[3], p[i + 1]);
  }
  return b;
}

// apart is the distance of two pieces of line.
function apart(ax, ay, bx, by, cx, cy, dx, dy) {
  const turn = (px, py, qx, qy, rx, ry) => Math.sign((qx - px) * (ry - py) - (qy - py) * (rx - px));
  if (turn(ax, ay, bx, by, cx, cy) * turn(ax, ay, bx, by, dx, dy) < 0 && turn(cx, cy, dx, dy, ax, ay) * turn(cx, cy, dx, dy, bx, by) < 0) return 0;
  return Math.min(away(ax, ay, cx, cy, dx, dy), away(bx, by, cx, cy, dx, dy), away(cx, cy, ax, ay, bx, by), away(dx, dy, ax, ay, bx, by));
}

// away is the distance of a point from a piece of line.
function away(px, py, ax, ay, bx, by) {
  const long = (bx - ax) ** 2 + (by - ay) ** 2;
  const t = long ? Math.max(0, Math.min(1, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / long)) : 0;
  return Math.hypot(px - ax - t * (bx - ax), py - ay - t * (by - ay));
}
