// The page itself: frames, input, buttons.

let model = null;
let pending = false;
let frameCost = 0;
let hover = null;
let mapLayer = null;
const canvas = document.getElementById("lanes");
const map = document.getElementById("map");
const scroller = document.getElementById("scroller");
const tip = document.getElementById("tip");
const pen = canvas.getContext("2d", { alpha: false });
const mapPen = map.getContext("2d", { alpha: false });

function request() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(frame);
}

function frame() {
  pending = false;
  if (!model) return;
  const begun = performance.now();
  drawLanes(pen, scroller.scrollTop);
  if (hover) {
    pen.fillStyle = color.focus;
    pen.globalAlpha = 0.6;
    pen.fillRect(Math.round(hover.x), 0, 1, view.height);
    pen.globalAlpha = 1;
    const text = clock(timeAt(hover.x), perPixel());
    const width = pen.measureText(text).width + 8;
    const left = Math.min(hover.x + 2, view.width - width);
    pen.fillStyle = color.paper;
    pen.fillRect(left, 1, width, 14);
    label(pen, text, left + 4, 1, 14, width);
  }
  drawMap();
  frameCost = performance.now() - begun;
}

function size(element, context) {
  const ratio = window.devicePixelRatio || 1;
  const width = element.clientWidth;
  const height = element.clientHeight;
  element.width = Math.max(Math.round(width * ratio), 1);
  element.height = Math.max(Math.round(height * ratio), 1);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  return [width, height];
}

function resize() {
  const total = layLanes();
  const height = Math.max(scroller.clientHeight, 60);
  canvas.style.height = `${height}px`;
  document.getElementById("spacer").style.height = `${Math.max(total - height, 0)}px`;
  [view.width, view.height] = size(canvas, pen);
  size(map, mapPen);
  mapLayer = null;
  // At once: a resized canvas is empty, and the next frame would come after it was shown.
  frame();
}

// The whole run on one strip: faults, operations per pixel, failed ones on top. Drawn once, then copied.
function drawMapLayer(width, height) {
  const layer = document.createElement("canvas");
  const ratio = window.devicePixelRatio || 1;
  layer.width = Math.max(width * ratio, 1);
  layer.height = Math.max(height * ratio, 1);
  const ctx = layer.getContext("2d");
  ctx.scale(ratio, ratio);
  ctx.fillStyle = color.paper;
  ctx.fillRect(0, 0, width, height);
  const at = (t) => t / model.span * width;
  ctx.fillStyle = color.fault;
  for (const fault of model.faults) {
    const [from, to] = faultWindow(fault);
    ctx.globalAlpha = 0.25;
    ctx.fillRect(at(from), 0, Math.max(at(to) - at(from), 2), height);
  }
  ctx.globalAlpha = 1;
  const columns = Math.max(Math.ceil(width), 1);
  const all = new Uint32Array(columns);
  const bad = new Uint32Array(columns);
  const ops = model.ops;
  for (let i = 0; i < ops.n; i++) {
    const px = Math.min(Math.floor(at(ops.t[i])), columns - 1);
    all[px]++;
    if (ops.outcome[i]) bad[px]++;
  }
  const most = all.reduce((a, b) => Math.max(a, b), 1);
  for (let px = 0; px < columns; px++) {
    const tall = all[px] / most * (height - 12);
    ctx.fillStyle = color.ok;
    ctx.fillRect(px, height - tall, 1, tall);
    if (!bad[px]) continue;
    const red = Math.max(bad[px] / most * (height - 12), 3);
    ctx.fillStyle = color.unknown;
    ctx.fillRect(px, height - red, 1, red);
  }
  ctx.fillStyle = color.anomaly;
  for (const i of model.anomalies) ctx.fillRect(at(ops.t[i]) - 1, 0, 3, 6);
  model.routes.slice(0, 3).forEach((route, k) => {
    const gap = route.gaps[0];
    if (!gap) return;
    ctx.fillStyle = color.unknown;
    ctx.fillRect(at(gap.from), 1 + k * 3, Math.max(at(gap.to) - at(gap.from), 1), 2);
  });
  return layer;
}

function drawMap() {
  const width = map.clientWidth;
  const height = map.clientHeight;
  mapLayer ??= drawMapLayer(width, height);
  mapPen.drawImage(mapLayer, 0, 0, width, height);
  const left = view.from / model.span * width;
  const right = view.to / model.span * width;
  mapPen.fillStyle = color.window;
  mapPen.fillRect(left, 0, Math.max(right - left, 2), height);
  mapPen.strokeStyle = color.focus;
  mapPen.lineWidth = 1.5;
  mapPen.strokeRect(left, 0.75, Math.max(right - left, 2), height - 1.5);
  map.setAttribute("aria-valuemin", "0");
  map.setAttribute("aria-valuemax", String(Math.round(model.span / 1e6)));
  map.setAttribute("aria-valuenow", String(Math.round((view.from + view.to) / 2e6)));
  map.setAttribute("aria-valuetext", `${clock(view.from, 1000)} to ${clock(view.to, 1000)}`);
}

function laneAt(py) {
  const y = py + scroller.scrollTop;
  return py < AXIS ? null : lanes.find((lane) => y >= lane.top && y < lane.top + lane.height) ?? null;
}

function under(event) {
  const lane = laneAt(event.offsetY);
  if (!lane || (event.offsetX < GUTTER && !lane.head)) return null;
  return lane.hit(timeAt(event.offsetX), event.offsetY + scroller.scrollTop - lane.top);
}

// Scrolls the lane of a selection into the window.
function reveal(selection) {
  const names = {
    op: () => `client ${model.ops.clients[model.ops.client[selection.index]][0]}`,
    fault: () => `${model.faults[selection.index].name} ${model.faults[selection.index].id}`,
    gap: () => ROUTE_WORDS[model.routes[selection.index].route], member: () => model.members[selection.index].pod,
    pod: () => model.pods[selection.index].pod, service: () => model.services[selection.index].service,
    watch: () => `watcher ${model.watchers[selection.index].watcher}`,
  };
  const heads = { member: "Members", pod: "Pods", op: "Clients" };
  const wanted = names[selection.type]();
  const lane = lanes.find((l) => l.name === wanted && (l.group ?? "").startsWith(heads[selection.type] ?? ""));
  if (!lane) return;
  const top = scroller.scrollTop + AXIS;
  if (lane.top < top || lane.top + lane.height > scroller.scrollTop + view.height) {
    scroller.scrollTop = lane.top - view.height / 2;
  }
}

function tipText(selection) {
  const ops = model.ops;
  if (selection.type === "op") {
    const i = selection.index;
    const took = ops.open[i] ? "never returned" : length(ops.end[i] - ops.t[i]);
    return `${opWord(i)}\n${opOutcome(i)}, ${took}${ops.revision[i] ? `, revision ${ops.revision[i]}` : ""}`;
  }
  if (selection.type === "group") return "";
  return DETAILS[selection.type](selection)[0][0].textContent;
}

function hoverAt(event) {
  const selection = event.offsetX >= GUTTER ? under(event) : null;
  hover = event.offsetX >= GUTTER ? { x: event.offsetX } : null;
  const text = selection ? tipText(selection) : "";
  tip.hidden = !text;
  if (text) {
    tip.textContent = text;
    const right = event.offsetX > view.width - 300;
    tip.style.left = right ? "" : `${event.offsetX + 14}px`;
    tip.style.right = right ? `${view.width - event.offsetX + 10}px` : "";
    tip.style.top = `${Math.min(event.offsetY + map.clientHeight + 16, view.height)}px`;
  }
  request();
}

function listenLanes() {
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, from: view.from, to: view.to, scroll: scroller.scrollTop, moved: false };
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
    tip.hidden = true;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return hoverAt(event);
    const dx = event.clientX - drag.x;
    if (Math.abs(dx) + Math.abs(event.clientY - drag.y) > 4) drag.moved = true;
    if (!drag.moved) return;
    canvas.classList.add("drag");
    const shift = dx * (drag.to - drag.from) / (view.width - GUTTER);
    look(drag.from - shift, drag.to - shift);
    scroller.scrollTop = drag.scroll - (event.clientY - drag.y);
  });
  canvas.addEventListener("pointerup", (event) => {
    const clicked = drag && !drag.moved;
    drag = null;
    canvas.classList.remove("drag");
    if (clicked) choose(under(event));
  });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("pointerleave", () => {
    hover = null;
    tip.hidden = true;
    request();
  });
  canvas.addEventListener("dblclick", (event) => zoom(0.25, timeAt(event.offsetX)));
  scroller.addEventListener("wheel", (event) => {
    if (event.offsetX < GUTTER || event.shiftKey && event.deltaX === 0) {
      scroller.scrollTop += event.deltaY;
      event.preventDefault();
      return;
    }
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 30 : 1;
    if (event.shiftKey) scroller.scrollTop += event.deltaX * unit;
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX * unit / view.width);
    else zoom(Math.pow(1.0022, event.deltaY * unit), timeAt(event.offsetX));
  }, { passive: false });
  scroller.addEventListener("scroll", request);
}

// Dragging in the overview: inside the window moves it, elsewhere draws a new one; a click centres.
function listenMap() {
  let drag = null;
  const time = (event) => event.offsetX / map.clientWidth * model.span;
  map.addEventListener("pointerdown", (event) => {
    const t = time(event);
    const whole = view.to - view.from > model.span * 0.95;
    drag = { t, from: view.from, to: view.to, inside: !whole && t > view.from && t < view.to, moved: false };
    if (event.isTrusted) map.setPointerCapture(event.pointerId);
  });
  map.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const t = time(event);
    if (Math.abs(t - drag.t) > model.span / 400) drag.moved = true;
    if (!drag.moved) return;
    if (drag.inside) look(drag.from + t - drag.t, drag.to + t - drag.t);
    else look(Math.min(t, drag.t), Math.max(t, drag.t));
  });
  map.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved && !drag.inside) {
      const half = Math.min(view.to - view.from, model.span / 10) / 2;
      look(time(event) - half, time(event) + half);
    }
    drag = null;
  });
}

const ordered = (list, timeOf, back) => {
  const here = chosen ? DETAILS[chosen.type](chosen)[1] : back ? Infinity : -Infinity;
  const same = chosen?.type === "op" || chosen?.type === "fault";
  if (!list.length) return null;
  if (back) return list.findLast((one) => timeOf(one) < here) ?? list.at(-1);
  return list.find((one) => timeOf(one) > here || (!same && timeOf(one) === here)) ?? list[0];
};

function jumpOp(list, back, nothing) {
  const i = ordered(list, (one) => model.ops.t[one], back);
  if (i === null) say(nothing); else choose({ type: "op", index: i }, true);
}

function say(text) {
  document.getElementById("said").textContent = text;
  document.getElementById("figures").textContent = text;
}

function longestGap() {
  let best = null;
  model.routes.forEach((route, index) => {
    const gap = route.gaps[0];
    if (gap && (!best || gap.to - gap.from > best.long)) best = { long: gap.to - gap.from, index };
  });
  if (best) choose({ type: "gap", index: best.index, gap: 0 }, true); else say("No gap of 50 ms or more.");
}

function find(text) {
  const ops = model.ops;
  const wanted = text.trim();
  if (!wanted) return;
  const id = /^#\d+$/.test(wanted) ? ops.byId.get(Number(wanted.slice(1))) : undefined;
  if (id !== undefined) return choose({ type: "op", index: id }, true);
  const start = chosen?.type === "op" ? chosen.index + 1 : 0;
  for (let n = 0; n < ops.n; n++) {
    const i = (start + n) % ops.n;
    if (ops.request[i].includes(wanted) || ops.answer[i].includes(wanted)
      || (ops.outcome[i] && ops.strings[ops.from[i]].includes(wanted))) return choose({ type: "op", index: i }, true);
  }
  say(`Nothing holds "${wanted}".`);
}

function along(step) {
  if (chosen?.type === "op") {
    const row = model.rows.find((r) => r.client === model.ops.client[chosen.index]);
    const next = row.index[row.index.indexOf(chosen.index) + step];
    if (next !== undefined) choose({ type: "op", index: next }, true);
  } else if (chosen?.segment !== undefined) {
    const list = { member: model.members, pod: model.pods, service: model.services }[chosen.type];
    const segment = chosen.segment + step;
    if (list[chosen.index].segments[segment]) choose({ ...chosen, segment }, true);
  } else {
    const middle = (view.from + view.to) / 2;
    const i = lower(model.ops.t, middle);
    if (i < model.ops.n) choose({ type: "op", index: i }, true);
  }
}

const ACTIONS = {
  fit: () => fit(), in: () => zoom(0.5), out: () => zoom(2),
  fault(back) {
    const fault = ordered(model.faults, (f) => f.steps[0][0], back);
    if (fault) choose({ type: "fault", index: model.faults.indexOf(fault) }, true); else say("This run has no fault.");
  },
  anomaly: (back) => jumpOp(model.anomalies, back, "No check names an operation."),
  bad: (back) => jumpOp(model.ops.bad, back, "No operation failed."),
  gap: () => longestGap(), close: () => choose(null), help: () => document.getElementById("help").showModal(),
};

const KEYS = [
  ["← →", "move in time (a tenth of the window; with Shift all of it)"], ["↑ ↓", "scroll the lanes"],
  ["+ −", "zoom"], ["Home End", "first and last moment"], ["f", "the whole run"], ["n N", "next, previous fault"],
  ["a A", "next, previous operation named by a check"], ["e E", "next, previous failed or unknown operation"],
  ["g", "longest gap"], ["[ ]", "before and after what is chosen, in its lane"], ["/", "find"], ["Esc", "close details"],
  ["wheel", "zoom at the pointer; Shift+wheel, or over the names, scrolls the lanes"], ["drag", "move; in the overview: new window"],
  ["click", "details; on a group's name: fold it"],
];

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("help").open) return;
  const target = event.target;
  if (target instanceof HTMLInputElement) {
    if (event.key === "Enter") find(target.value);
    if (event.key === "Escape") canvas.focus();
    return;
  }
  const inPage = target instanceof HTMLButtonElement || target.closest?.(".scroll, aside, summary");
  const move = {
    ArrowLeft: () => pan(event.shiftKey ? -1 : -0.1), ArrowRight: () => pan(event.shiftKey ? 1 : 0.1),
    ArrowUp: () => { scroller.scrollTop -= 60; }, ArrowDown: () => { scroller.scrollTop += 60; },
    Home: () => look(0, view.to - view.from), End: () => look(model.span - (view.to - view.from), model.span),
  }[event.key];
  const act = {
    "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), f: fit, g: longestGap,
    n: () => ACTIONS.fault(false), N: () => ACTIONS.fault(true), a: () => ACTIONS.anomaly(false),
    A: () => ACTIONS.anomaly(true), e: () => ACTIONS.bad(false), E: () => ACTIONS.bad(true),
    "[": () => along(-1), "]": () => along(1), "?": ACTIONS.help, Escape: ACTIONS.close,
    "/": () => document.getElementById("find").focus(),
  }[event.key];
  if (act ?? (inPage ? null : move)) {
    event.preventDefault();
    (act ?? move)();
  }
}

function legend() {
  const parts = [["ok", "ok"], ["failed", "failed"], ["unknown", "unknown"], ["late", "acknowledged late"], ["anomaly", "named by a check"],
    ["election", "election"], ["label", "label"], ["endpoints", "endpoints"], ["client", "client"]];
  document.getElementById("legend").replaceChildren(...parts.map(([name, word]) => {
    const swatch = make("i");
    swatch.style.background = `var(--${name})`;
    return make("span", null, swatch, word);
  }));
}

// `#from=1.5&to=3` (seconds) and `#op=77` open the page at a place; `#gap` and `#anomaly` at the cause.
function openAt() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (wanted.has("from")) look(Number(wanted.get("from")) * 1e6, Number(wanted.get("to") ?? wanted.get("from")) * 1e6);
  if (wanted.has("op")) find(`#${wanted.get("op")}`);
  if (wanted.has("gap")) longestGap();
  if (wanted.has("anomaly")) ACTIONS.anomaly(false);
  if (wanted.has("fault")) ACTIONS.fault(false);
}

async function start() {
  const begun = performance.now();
  model = makeModel(await unpack());
  view.span = model.span;
  view.from = -model.span * 0.01;
  view.to = model.span * 1.01;
  readColors();
  legend();
  document.getElementById("verdicts").open = !document.querySelector(".line .badge").classList.contains("pass");
  document.getElementById("help-body").append(make("h2", "Keys"), facts(KEYS));
  resize();
  listenLanes();
  listenMap();
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button?.dataset.do) ACTIONS[button.dataset.do](event.shiftKey);
    if (button?.dataset.op) find(`#${button.dataset.op}`);
  });
  let before = "";
  new ResizeObserver(() => {
    const now = `${scroller.clientWidth} ${scroller.clientHeight} ${window.devicePixelRatio}`;
    if (now !== before) resize();
    before = now;
  }).observe(scroller);
  dark.addEventListener("change", () => {
    readColors();
    resize();
  });
  say(`${model.ops.n.toLocaleString("en")} operations, ${model.ops.bad.length.toLocaleString("en")} not ok, ${length(model.span)}`);
  openAt();
  window.addEventListener("hashchange", openAt);
  await selftest(performance.now() - begun);
}

const letGo = holdLoad();
start().catch((error) => {
  document.documentElement.dataset.error = String(error?.stack ?? error);
  console.error(error);
  say(`The timeline could not be drawn: ${error}`);
}).finally(letGo);
