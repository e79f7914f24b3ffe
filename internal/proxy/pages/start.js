
// Shows what runs, anew every second while the page is seen.
(() => {
  const at = id => document.getElementById(id), page = at("page");
  let hosts = null, apps = "", timer = 0;
  const make = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; };
  const set = (e, text) => { if (e.textContent !== text) e.textContent = text; };

  fetch(page.dataset.probe, { mode: "no-cors", cache: "no-store" }).then(() => hosts = true, () => hosts = false).then(() => {
    at("form").value = hosts ? "host" : "path";
    at("resolver").hidden = hosts;
    refresh();
  });

  const span = ms => {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    if (s < 86400) return Math.floor(s / 3600) + " h";
    return Math.floor(s / 86400) + " d";
  };
  const bytes = n => !n ? "–" : n < 1048576 ? Math.ceil(n / 1024) + " KB" : n < 1073741824 ? Math.round(n / 1048576) + " MB" : (n / 1073741824).toFixed(1) + " GB";
  const kind = s => s === "ready" ? "ready" : s === "terminated" ? "over" : "busy";
  const words = { scheduled: "scheduled", loading: "preparing", starting: "starting", waiting: "starting", ready: "running", terminating: "ending", "hard-terminating": "ending", terminated: "ended" };
  const link = b => hosts && b.host ? location.protocol + "//" + b.host + "/" : b.path;
  // As a shell takes it.
  const quoted = key => /^[A-Za-z0-9_.\/-]+$/.test(key) ? key : "'" + key.replaceAll("'", "'\\''") + "'";

  const copy = async text => {
    try { await navigator.clipboard.writeText(text); set(at("said"), "Copied: " + text); }
    catch { set(at("said"), "Copy this: " + text); }
  };

  const rows = new Map();
  const row = b => {
    let r = rows.get(b.backend_id);
    if (!r) {
      r = { tr: make("tr"), name: make("td", "name"), state: make("span"), end: make("span", "end"), since: make("td", "figure"), conns: make("td", "figure"), memory: make("td", "figure") };
      r.link = make(b.path ? "a" : "span", "", b.name);
      r.name.append(r.link);
      if (b.app) r.name.append(make("span", "quiet", " " + b.app));
      const state = make("td"), actions = make("td", "actions");
      state.append(r.state, r.end);
      for (const verb of ["why", "logs", "stop"]) {
        const button = make("button", "plain", verb), command = "plane " + verb + " " + quoted(b.key);
        button.type = "button"; button.title = command; button.setAttribute("aria-label", "Copy: " + command);
        button.onclick = () => copy(command);
        actions.append(button, " ");
        if (verb === "stop") r.stop = button;
      }
      r.tr.append(r.name, state, r.since, r.conns, r.memory, actions);
      rows.set(b.backend_id, r);
    }
    const over = b.status === "terminated";
    if (b.path && r.link.getAttribute("href") !== link(b)) r.link.href = link(b);
    r.state.className = "state " + kind(b.status);
    set(r.state, words[b.status] || b.status);
    set(r.end, b.end || "");
    set(r.since, span(Date.now() - b.since_ms));
    set(r.conns, over ? "–" : String(b.connections));
    set(r.memory, over ? "–" : bytes(b.memory_bytes));
    r.stop.hidden = over;
    return r.tr;
  };

  const showApps = list => {
    const now = JSON.stringify(list);
    if (now === apps) return;
    apps = now;
    const chosen = at("app").value;
    at("apps").replaceChildren(...list.map(a => {
      const li = make("li");
      li.append(make("strong", "", a.name || "unnamed"), make("code", "", a.runs));
      li.append(make("span", "quiet", (a.default ? "default · " : "") + "release " + a.release));
      return li;
    }));
    at("app").replaceChildren(...list.map(a => {
      const o = make("option", "", a.name || "unnamed");
      o.value = a.default ? "" : a.name;
      o.selected = o.value === chosen;
      return o;
    }));
    at("app-label").hidden = list.length < 2;
  };

  const show = o => {
    showApps(o.apps);
    const body = at("runs"), want = o.backends.map(row);
    const ids = new Set(o.backends.map(b => b.backend_id));
    for (const [id, r] of rows) if (!ids.has(id)) { r.tr.remove(); rows.delete(id); }
    want.forEach((tr, i) => { if (body.children[i] !== tr) body.insertBefore(tr, body.children[i] || null); });
    at("scroll").hidden = !want.length; at("none").hidden = !!want.length;
    const unseen = o.total - o.backends.filter(b => b.status !== "terminated").length;
    at("more").hidden = unseen <= 0;
    set(at("more"), unseen + " more run; plane ls shows them.");
  };

  const refresh = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      const r = await fetch("/_plane/overview", { cache: "no-store" });
      if (!r.ok) throw new Error(r.status);
      const o = await r.json();
      at("away").hidden = true;
      show(o);
    } catch { at("away").hidden = false; }
    clearTimeout(timer);
    timer = setTimeout(refresh, 1000);
  };
  document.addEventListener("visibilitychange", refresh);
  refresh();
})();
