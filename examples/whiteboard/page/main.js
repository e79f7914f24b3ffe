// Joins the parts of the page.

import { Board, newID } from "./board.js";
import { Pen } from "./pen.js";
import { People } from "./people.js";
import { Sheet } from "./sheet.js";

const $ = (id) => document.getElementById(id);

const COLORS = { ink: "Ink", red: "Red", orange: "Orange", green: "Green", teal: "Teal", blue: "Blue", violet: "Violet", pink: "Pink" };
const WIDTHS = { 25: "Fine line", 50: "Medium line", 110: "Broad line" };

// kept remembers for this tab or this browser, where that is allowed.
function kept(storage, name, make) {
  try {
    const was = globalThis[storage].getItem("whiteboard." + name);
    if (was) return was;
  } catch { /* not allowed */ }
  return keep(storage, name, make());
}
function keep(storage, name, value) {
  try { globalThis[storage].setItem("whiteboard." + name, value); } catch { /* not allowed */ }
  return value;
}
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const someName = () => pick(["Amber", "Brisk", "Calm", "Coral", "Early", "Fern", "Lunar", "Merry", "Quiet", "Silver"]) + " " + pick(["Badger", "Crane", "Finch", "Fox", "Heron", "Lynx", "Otter", "Owl", "Swift", "Wren"]);

const me = { author: kept("sessionStorage", "author", newID), name: kept("localStorage", "name", () => "") || kept("sessionStorage", "name", someName) };
const sheet = new Sheet($("sheet"), $("paper"), $("ink"));
const people = new People(sheet, $("people"), $("cursors"));
sheet.onfit = () => people.refit();
const board = new Board(sheet, me, (what, news) => ({
  status: showStatus,
  news: () => say(news),
  people: () => people.set(news, board.hello?.you),
  beat: () => people.beat(news, board.hello?.you),
})[what]());
const pen = new Pen(sheet, board, me);

function showStatus() {
  const { connected, loaded, unsaved, hello, generation } = board;
  const waiting = unsaved.size ? ` ${unsaved.size} change${unsaved.size === 1 ? " waits" : "s wait"} to be saved.` : "";
  const [state, text] = !loaded ? ["waiting", connected ? "Loading…" : generation === null ? "Connecting…" : "Reconnecting…" + waiting]
    : unsaved.size ? ["saving", "Saving…"]
    : hello.durable ? ["saved", "Saved"] : ["saved", "In memory only"];
  if ($("status-text").textContent !== text) $("status-text").textContent = text;
  if (!board.overdue && document.activeElement === $("retry")) $("paper").focus(); // it goes away
  $("retry").hidden = !board.overdue;
  const n = sheet.strokes.size;
  // What a test or a style sheet may look at.
  Object.assign($("status").dataset, { state, strokes: n, unsaved: unsaved.size, generation: generation ?? "" });
  $("invite").hidden = n > 0 || !loaded;
  $("clear").disabled = n === 0;
  $("undo").disabled = !pen.history.length && !pen.mine();
  if (hello) {
    $("key").textContent = hello.key;
    document.title = hello.key + " – Whiteboard";
  }
  $("paper").setAttribute("aria-label", `Sheet to draw on, ${n} stroke${n === 1 ? "" : "s"}`);
}

let newsGone;
function say(text) {
  $("news-text").textContent = text;
  $("news").hidden = false;
  clearTimeout(newsGone);
  newsGone = setTimeout(() => { $("news").hidden = true; }, 15_000);
}

// radios fills a fieldset with a choice.
function radios(into, name, all, chosen, look, use) {
  for (const [value, title] of Object.entries(all)) {
    const label = document.createElement("label"), input = document.createElement("input"), mark = document.createElement("i"), text = document.createElement("span");
    Object.assign(input, { type: "radio", name, value, checked: value === chosen });
    input.addEventListener("change", () => use(value));
    label.title = text.textContent = title;
    text.className = "unseen";
    look(mark, value);
    label.append(input, mark, text);
    into.append(label);
  }
}
radios($("colors"), "color", COLORS, pen.color, (mark, v) => { mark.style.color = `var(--${v})`; }, (v) => { pen.color = v; choose("pen"); });
radios($("widths"), "width", WIDTHS, "50", (mark, v) => { mark.style.width = mark.style.height = 3 + v / 8 + "px"; }, (v) => { pen.width = Number(v); });
pen.width = 50;

function choose(tool) {
  pen.tool = $("paper").dataset.tool = tool;
  document.querySelector(`[name=tool][value=${tool}]`).checked = true;
}
for (const input of document.querySelectorAll("[name=tool]")) input.addEventListener("change", () => choose(input.value));

const undo = () => { pen.undo(); showStatus(); };
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", () => $("ask-clear").showModal());
$("ask-clear").addEventListener("close", () => {
  if ($("ask-clear").returnValue !== "yes") return;
  pen.history.length = 0;
  board.change({ id: newID(), clear: true });
});
$("news-close").addEventListener("click", () => { $("news").hidden = true; });
$("retry").addEventListener("click", () => board.retry());
$("name").textContent = me.name;
$("rename").addEventListener("click", () => { $("new-name").value = me.name; $("ask-name").showModal(); $("new-name").select(); });
$("ask-name").addEventListener("close", () => {
  const name = $("new-name").value.trim();
  if ($("ask-name").returnValue !== "yes" || !name) return;
  me.name = $("name").textContent = keep("localStorage", "name", name);
  board.say({ type: "name", name });
});
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("cancel", () => { dialog.returnValue = "no"; });

document.addEventListener("keydown", (e) => {
  if (e.target.matches("input:not([type=radio])") || document.querySelector("dialog[open]")) return;
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "z" && !e.shiftKey) { e.preventDefault(); undo(); }
  else if (!e.ctrlKey && !e.metaKey && !e.altKey && "pPeE".includes(e.key)) choose(e.key.toLowerCase() === "p" ? "pen" : "eraser");
});
// Where arrow keys have moved the pen, the one who does it sees a cursor too.
pen.onkey = (at) => people.place(-1, at);
showStatus();
board.run();
