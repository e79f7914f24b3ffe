
// Follows how the key's backend fares and gives way to it.
(() => {
  const at = id => document.getElementById(id), card = at("card"), clock = at("clock");
  const began = performance.now(), key = card.dataset.events;
  let failed = "failed" in card.dataset, retryAt = 0, status = card.dataset.status, seen = began, address = card.dataset.address || "127.0.0.1:$PORT";
  const say = (id, text) => { const e = at(id); if (e.textContent !== text) e.textContent = text; };
  const again = () => { retryAt = 0; location.reload(); };
  const after = ms => { retryAt = ms > 0 ? performance.now() + ms : 0; };
  const seconds = ms => { const s = Math.max(0, Math.round(ms / 1000)); return s === 1 ? "1 second" : s + " seconds"; };

  const show = s => {
    seen = performance.now();
    if (s.status === "ready" || s.changed) return again();
    status = s.status; address = s.address || address;
    const was = failed;
    failed = !!s.failed || !!s.early;
    say("heading", s.heading); say("says", s.message); say("advice", s.advice || ""); say("output", s.output || "");
    at("advice").hidden = !s.advice; at("shown").hidden = !s.output; at("again").hidden = !failed;
    card.classList.toggle("still", failed);
    document.title = s.heading + document.title.replace(/^[^·]*(?= ·)|^[^·]*$/, "");
    if (failed !== was || s.retry_ms) after(s.retry_ms || 0);
  };

  const tick = () => {
    const now = performance.now();
    if (retryAt && now >= retryAt) return again();
    if (retryAt) clock.textContent = "Next try in " + seconds(retryAt - now) + ".";
    else if (failed || !key) clock.textContent = "";
    else {
      let text = now - began < 950 ? "" : seconds(now - began) + " so far.";
      if (status === "waiting" && "dev" in card.dataset && now - began > 5000) text += " Nothing of it answers at " + address + " yet; a program must listen on 127.0.0.1:$PORT.";
      clock.textContent = text;
      if (now - seen > 40000) again();
    }
  };
  after(Number(card.dataset.retry));
  setInterval(tick, 250);
  if (!key) return;
  const events = new EventSource(key);
  let first = true;
  events.addEventListener("status", e => {
    const s = JSON.parse(e.data);
    // Others may start it: loading the page would end it again. A changed app is another matter.
    if ("stays" in card.dataset && !s.replaced) return;
    delete card.dataset.stays;
    // What the page was made with is said; only news of it counts.
    if (!(first && failed && !s.changed && (s.failed || s.early || !s.status))) show(s);
    first = false;
  });
  events.onerror = () => { if (events.readyState === 2 && !failed && !retryAt) after(2000); };
})();
