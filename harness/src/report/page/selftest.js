// `#selftest`: zooms, pans, jumps and clicks by script, and writes what it measured into the document, so that a browser
// without a screen can tell whether the page is fluid.

// A document that is never finished keeps the page's load event away, for which a browser without a screen waits.
function holdLoad() {
  if (!location.hash.includes("selftest")) return () => {};
  const hold = document.createElement("iframe");
  hold.hidden = true;
  document.body.append(hold);
  hold.contentDocument.open();
  return () => {
    hold.contentDocument.close();
    hold.remove();
  };
}

const next = () => new Promise((done) => setTimeout(done));

const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

async function timed(costs, act) {
  act();
  const begun = performance.now();
  frame();
  // Reading a copy back waits until the canvas is really drawn.
  probe.drawImage(canvas, 0, 0, 1, 1);
  probe.getImageData(0, 0, 1, 1);
  costs.push(performance.now() - begun);
  if (costs.length % 20 === 0) await next();
}

const percentile = (costs, part) => {
  const sorted = [...costs].sort((a, b) => a - b);
  return Number(sorted[Math.min(Math.floor(part * sorted.length), sorted.length - 1)].toFixed(2));
};

async function selftest(loaded) {
  if (!location.hash.includes("selftest")) return;
  const steps = { zoom: [], pan: [], jump: [] };
  for (const place of [0.2, 0.5, 0.8]) {
    fit();
    for (let k = 0; k < 40; k++) await timed(steps.zoom, () => zoom(0.8, view.span * place));
    for (let k = 0; k < 40; k++) await timed(steps.zoom, () => zoom(1.25, view.span * place));
  }
  for (const width of [1, 0.3, 0.05, 0.005]) {
    look(0, model.span * width);
    for (let k = 0; k < 40; k++) await timed(steps.pan, () => pan(k < 20 ? 0.07 : -0.05));
  }
  const seen = new Set();
  const kinds = ["fault", "anomaly", "bad", "gap"];
  for (const kind of kinds) {
    await timed(steps.jump, () => ACTIONS[kind](false));
    if (chosen) seen.add(chosen.type);
  }
  let hits = 0;
  fit();
  for (const lane of lanes) {
    for (let px = GUTTER; px < view.width; px += 37) if (lane.hit(timeAt(px), lane.height - 4)) hits++;
  }
  const figures = {
    ops: model.ops.n, lanes: lanes.length, loaded_ms: Math.round(loaded), hits, chosen: [...seen],
    error: document.documentElement.dataset.error ?? null,
  };
  for (const [name, costs] of Object.entries(steps)) {
    figures[name] = { frames: costs.length, median_ms: percentile(costs, 0.5), p95_ms: percentile(costs, 0.95), max_ms: percentile(costs, 1) };
  }
  document.documentElement.dataset.selftest = JSON.stringify(figures);
  document.title = "selftest done";
}
