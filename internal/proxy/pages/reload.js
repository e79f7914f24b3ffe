// Loads the page again when its app has changed, once somebody sees it. It
// listens only while the page is seen: browsers allow few connections to a host.
(() => {
  if (window.planeReload) return;
  window.planeReload = true;
  const url = new URL("status", document.currentScript.src);
  let events = null, stale = false, generation = 0;
  const close = () => { if (events) events.close(); events = null; };
  const change = () => {
    if (document.hidden) return close();
    if (stale) return location.reload();
    if (events) return;
    events = new EventSource(url);
    events.addEventListener("status", e => {
      const s = JSON.parse(e.data);
      if (s.status === "ready") {
        stale ||= generation > 0 && s.generation !== generation; // replaced unseen
        generation = s.generation;
      }
      stale ||= !!s.replaced || !!s.changed;
      if (stale) change();
    });
  };
  document.addEventListener("visibilitychange", change);
  addEventListener("pagehide", close);
  addEventListener("pageshow", change);
  change();
})();
