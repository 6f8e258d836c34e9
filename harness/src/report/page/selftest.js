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

// Which inputs do not do what they should, tried by events as a hand makes them.
function deafInputs() {
  const deaf = [];
  const place = (element, px, py) => {
    const box = element.getBoundingClientRect();
    return { clientX: box.left + px, clientY: box.top + py, bubbles: true, cancelable: true, button: 0 };
  };
  const pointer = (element, kind, px, py) => element.dispatchEvent(new PointerEvent(kind, place(element, px, py)));
  const check = (name, act, holds) => {
    fit();
    look(model.span * 0.4, model.span * 0.6);
    const before = { ...view, scroll: scroller.scrollTop };
    act();
    if (!holds(before)) deaf.push(name);
  };
  const width = () => view.to - view.from;
  const near = (a, b) => Math.abs(a - b) < model.span * 1e-3;
  const middle = (GUTTER + view.width) / 2;
  const wheel = (init) => canvas.dispatchEvent(new WheelEvent("wheel", { ...place(canvas, middle, 100), ...init }));
  const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  check("wheel zooms at the pointer", () => wheel({ deltaY: -200 }),
    (b) => width() < (b.to - b.from) * 0.8 && near((view.from + view.to) / 2, (b.from + b.to) / 2));
  check("wheel aside pans", () => wheel({ deltaX: 200 }), (b) => view.from > b.from && near(width(), b.to - b.from));
  check("shift and wheel scroll", () => wheel({ deltaY: 60, shiftKey: true }), (b) => scroller.scrollTop > b.scroll || scroller.scrollHeight <= scroller.clientHeight);
  check("drag pans", () => {
    pointer(canvas, "pointerdown", middle, 60);
    pointer(canvas, "pointermove", middle - 100, 60);
    pointer(canvas, "pointerup", middle - 100, 60);
  }, (b) => near(view.from - b.from, 100 / (view.width - GUTTER) * (b.to - b.from)));
  check("the overview draws a window", () => {
    const at = map.clientWidth;
    pointer(map, "pointerdown", at * 0.1, 20);
    pointer(map, "pointermove", at * 0.2, 20);
    pointer(map, "pointerup", at * 0.2, 20);
  }, () => near(view.from, model.span * 0.1) && near(view.to, model.span * 0.2));
  check("the overview moves its window", () => {
    const at = map.clientWidth;
    pointer(map, "pointerdown", at * 0.5, 20);
    pointer(map, "pointermove", at * 0.7, 20);
    pointer(map, "pointerup", at * 0.7, 20);
  }, (b) => near(view.from, b.from + model.span * 0.2));
  check("+ zooms", () => key("+"), (b) => width() < b.to - b.from);
  check("right arrow pans", () => key("ArrowRight"), (b) => view.from > b.from);
  check("f fits", () => key("f"), () => view.from <= 0 && view.to >= model.span);
  choose(null);
  check("n chooses a fault", () => key("n"), () => chosen?.type === "fault" || !model.faults.length);
  check("e chooses a failed operation", () => key("e"), () => chosen?.type === "op" || !model.ops.bad.length);
  const first = chosen;
  check("] selects the next in the row", () => key("]"), () => chosen !== first && chosen?.type === "op");
  check("Escape closes", () => key("Escape"), () => chosen === null && document.getElementById("details").hidden);
  fit();
  scroller.scrollTop = 0;
  const lane = lanes.find((one) => !one.head && one.group.startsWith("Members"));
  if (lane) {
    check("a click shows details", () => {
      scroller.scrollTop = lane.top - 100;
      const py = lane.top - scroller.scrollTop + 8;
      pointer(canvas, "pointerdown", middle, py);
      pointer(canvas, "pointerup", middle, py);
    }, () => chosen?.type === "member" && document.getElementById("details").textContent.includes("term"));
  }
  const many = lanes.length;
  choose({ type: "group", group: lane?.group });
  if (lane && lanes.length >= many) deaf.push("a click folds a group");
  choose({ type: "group", group: lane?.group });
  choose(null);
  return deaf;
}

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
    deaf: deafInputs(), error: document.documentElement.dataset.error ?? null,
  };
  for (const [name, costs] of Object.entries(steps)) {
    figures[name] = { frames: costs.length, median_ms: percentile(costs, 0.5), p95_ms: percentile(costs, 0.95), max_ms: percentile(costs, 1) };
  }
  document.documentElement.dataset.selftest = JSON.stringify(figures);
  document.title = "selftest done";
}
