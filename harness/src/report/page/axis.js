// The window on the run: which stretch of time is seen, and how it is written.

const GUTTER = 148;
const AXIS = 30;
const view = { from: 0, to: 1, span: 1, width: 1, height: 1 };

const x = (t) => GUTTER + (t - view.from) / (view.to - view.from) * (view.width - GUTTER);
const timeAt = (px) => view.from + (px - GUTTER) / (view.width - GUTTER) * (view.to - view.from);
const perPixel = () => (view.to - view.from) / (view.width - GUTTER);

// Moves the window and keeps it inside the run with a margin of 2 %; 50 microseconds are the closest look.
function look(from, to) {
  const margin = view.span * 0.02;
  const width = Math.min(Math.max(to - from, 50), view.span + 2 * margin);
  if (to - from !== width) {
    const middle = (from + to) / 2;
    from = middle - width / 2;
  }
  from = Math.min(Math.max(from, -margin), view.span + margin - width);
  view.from = from;
  view.to = from + width;
  request();
}

function zoom(factor, around = (view.from + view.to) / 2) {
  look(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

const pan = (part) => look(view.from + (view.to - view.from) * part, view.to + (view.to - view.from) * part);
const fit = () => look(-view.span * 0.01, view.span * 1.01);

// Brings a stretch into view: unchanged when it is seen well, else centred with space around it.
function show(from, to) {
  const width = view.to - view.from;
  const length = Math.max(to - from, 1);
  if (from >= view.from && to <= view.to && length > width / 40) return;
  const wanted = length > width / 40 && length < width * 0.8 ? width : Math.max(length * 4, 20000);
  const middle = (from + to) / 2;
  look(middle - wanted / 2, middle + wanted / 2);
}

const STEPS = [1, 2, 5];

function tickStep() {
  const wanted = perPixel() * 95;
  let power = Math.pow(10, Math.floor(Math.log10(wanted)));
  for (let guard = 0; guard < 2; guard++, power *= 10) {
    for (const step of STEPS) if (step * power >= wanted) return step * power;
  }
  return power;
}

// Seconds since the beginning of the run, as finely as the step needs.
function clock(t, step = 1) {
  const digits = step >= 1e6 ? 0 : Math.min(6, Math.ceil(6 - Math.log10(step)));
  return `${(t / 1e6).toFixed(digits)} s`;
}

function length(micros) {
  if (micros < 1000) return `${Math.round(micros)} µs`;
  if (micros < 1e6) return `${(micros / 1000).toFixed(micros < 1e4 ? 2 : micros < 1e5 ? 1 : 0)} ms`;
  return `${(micros / 1e6).toFixed(micros < 1e7 ? 3 : 1)} s`;
}

function wall(t) {
  const micros = model.base + t;
  const iso = new Date(Math.floor(micros / 1000)).toISOString();
  return `${iso.slice(11, 23)}${String(Math.floor(micros) % 1000).padStart(3, "0")} UTC`;
}

function drawAxis(ctx) {
  const step = tickStep();
  ctx.fillStyle = color.raised;
  ctx.fillRect(0, 0, view.width, AXIS);
  ctx.fillStyle = color.quiet;
  ctx.textBaseline = "alphabetic";
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) {
    const px = x(t);
    if (px < GUTTER) continue;
    ctx.globalAlpha = 0.35;
    ctx.fillRect(Math.round(px), AXIS - 6, 1, view.height);
    ctx.globalAlpha = 1;
    ctx.fillText(clock(t, step), px + 4, AXIS - 8);
  }
  ctx.fillStyle = color.step;
  let free = GUTTER;
  for (const [t, name] of model.phases) {
    const px = x(t);
    if (px < GUTTER || px > view.width) continue;
    ctx.fillRect(Math.round(px), 0, 1, view.height);
    if (px < free) continue;
    ctx.fillText(name, px + 4, 10);
    free = px + 10 + ctx.measureText(name).width;
  }
  ctx.fillStyle = color.fault;
  for (const t of model.starts.slice(1)) ctx.fillRect(Math.round(x(t)), 0, 2, view.height);
  ctx.fillStyle = color.raised;
  ctx.fillRect(0, 0, GUTTER, AXIS);
  ctx.fillStyle = color.quiet;
  ctx.fillText(`${length(view.to - view.from)} shown`, 8, AXIS - 8);
}
