// Who is here, and where their pens are.

const SHOWN = 6;

// hue is each visitor's own; the lightness lets white letters be read on it.
const hue = (id) => `hsl(${(id * 137.5) % 360} 60% 30%)`;

export class People {
  all = new Map(); // by id
  #marks = new Map(); // cursors by id

  constructor(sheet, list, cursors) {
    this.sheet = sheet; this.list = list; this.cursors = cursors;
  }

  set(people, me) {
    people.sort((a, b) => (b.id === me) - (a.id === me) || a.id - b.id);
    this.all = new Map(people.map((p) => [p.id, p]));
    this.me = me;
    this.list.replaceChildren(...people.slice(0, SHOWN).map((p) => this.badge(p)));
    if (people.length > SHOWN) {
      const more = document.createElement("li");
      more.className = "more";
      more.textContent = "+" + (people.length - SHOWN);
      more.title = people.slice(SHOWN).map((p) => p.name).join(", ");
      this.list.append(more);
    }
    for (const [id, mark] of this.#marks) {
      const p = this.all.get(id);
      if (p) mark.lastElementChild.textContent = p.name;
      else { mark.remove(); this.#marks.delete(id); }
    }
    for (const [id, s] of this.sheet.sketches) if (s.who && !this.all.has(s.who)) { this.sheet.sketches.delete(id); this.sheet.draw("ink"); }
  }

  badge(p) {
    const li = document.createElement("li");
    li.style.setProperty("--who", hue(p.id));
    li.title = p.name + (p.id === this.me ? " (you)" : "");
    const letters = document.createElement("span"), name = document.createElement("span");
    letters.textContent = p.name.split(" ").map((w) => [...w][0]).slice(0, 2).join("").toUpperCase();
    letters.setAttribute("aria-hidden", "true");
    name.textContent = li.title;
    name.className = "unseen";
    li.append(letters, name);
    return li;
  }

  beat({ cursors = {}, drawing = {} }, me) {
    for (const [id, at] of Object.entries(cursors)) if (Number(id) !== me) this.place(Number(id), at);
    for (const [id, s] of Object.entries(drawing)) {
      if (s.who === me || this.sheet.strokes.has(id)) continue;
      const known = this.sheet.sketches.get(id);
      if (known) known.points.push(...s.points);
      else this.sheet.sketches.set(id, { id, ...s });
      this.sheet.draw("ink");
    }
  }

  place(id, at) {
    let mark = this.#marks.get(id);
    if (!at) { mark?.remove(); this.#marks.delete(id); return; }
    if (!mark) {
      mark = document.createElement("div");
      mark.className = "cursor";
      mark.style.setProperty("--who", hue(id));
      mark.innerHTML = '<svg viewBox="0 0 20 20"><path d="M3 2l14 7-6 2-3 6z"/></svg><span></span>';
      mark.lastElementChild.textContent = this.all.get(id)?.name ?? "";
      this.cursors.append(mark);
      this.#marks.set(id, mark);
    }
    mark.at = at;
    this.put(mark);
  }

  // refit places all cursors anew, on a sheet of another size.
  refit() { for (const mark of this.#marks.values()) this.put(mark); }

  put(mark) { mark.style.transform = `translate(${mark.at[0] * this.sheet.scale}px, ${mark.at[1] * this.sheet.scale}px)`; }
}
