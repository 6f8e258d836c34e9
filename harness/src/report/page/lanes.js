// The lanes: what is in each, how high, how it is drawn, and what lies under a point of it.
//
// A lane draws only what is in the window. Dense rows are counted per pixel by the sums of their row; a pixel with a
// failed operation always shows it, however many good ones share the pixel.

const color = {};
const lanes = [];
const folded = new Set();

const TERM_HUES = [210, 130, 30, 285, 175, 340, 75, 250];
const dark = matchMedia("(prefers-color-scheme: dark)");
const termColor = (term, leads) => `hsl(${TERM_HUES[term % TERM_HUES.length]} ${leads ? 62 : 38}% ${
  dark.matches ? (leads ? 48 : 24) : (leads ? 46 : 86)}%)`;

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "raised", "line", "text", "quiet", "focus", "ok", "failed", "unknown", "anomaly",
    "fault", "faultband", "healing", "silent", "late", "ready", "notready", "deleting", "gone", "leaderpod", "election",
    "label", "endpoints", "client", "step", "window"]) color[name] = style.getPropertyValue(`--${name}`).trim();
}

function box(ctx, from, to, y, height, fill, text) {
  if (to < view.from || from > view.to) return;
  const left = Math.max(x(from), GUTTER);
  const right = Math.min(Math.max(x(to), left + 1), view.width);
  if (right <= GUTTER || left >= view.width) return;
  ctx.fillStyle = fill;
  ctx.fillRect(left, y, right - left, height);
  if (text && right - left > 26) label(ctx, text, left + 4, y, height, right - left - 8);
}

function label(ctx, text, left, y, height, space, ink = color.text) {
  ctx.fillStyle = ink;
  ctx.textBaseline = "middle";
  let shown = text;
  if (ctx.measureText(text).width > space) {
    const fits = Math.floor(space / 6);
    if (fits < 2) return;
    shown = `${text.slice(0, fits - 1)}…`;
    if (ctx.measureText(shown).width > space) return;
  }
  ctx.fillText(shown, left, y + height / 2 + 0.5);
}

// Segments of a lane that are in the window.
function* seen(segments) {
  let at = 0;
  let to = segments.length;
  while (at < to) {
    const middle = (at + to) >> 1;
    if (segments[middle].to < view.from) at = middle + 1; else to = middle;
  }
  for (; at < segments.length && segments[at].from <= view.to; at++) yield segments[at];
}

function segmentAt(segments, t) {
  const slack = perPixel() * 3;
  return segments.findLastIndex((s) => s.from <= t + slack && s.to >= t - slack);
}

const faultLane = (fault, index) => ({
  name: `${fault.name} ${fault.id}`, height: 22, group: "Faults",
  draw(ctx, y) {
    const first = fault.steps[0][0];
    const last = fault.steps[fault.steps.length - 1];
    const over = ["healed", "residue"].includes(last[1]) ? last[0] : model.span;
    const [from, to] = faultWindow(fault);
    ctx.globalAlpha = 0.35;
    box(ctx, first, over, y + 3, 16, color.fault);
    ctx.globalAlpha = 0.8;
    box(ctx, from, to, y + 3, 16, color.fault);
    ctx.globalAlpha = 1;
    for (const [t, step] of fault.steps) {
      if (x(t) < GUTTER) continue;
      const bad = step === "ineffective" || step === "residue";
      ctx.fillStyle = bad ? color.unknown : step.startsWith("heal") ? color.healing : color.text;
      ctx.fillRect(x(t) - 1, y + 1, bad ? 4 : 2, 20);
    }
    const left = Math.max(x(first), GUTTER);
    const ink = x(over) - left > 100 ? color.paper : color.text;
    const beside = ink === color.text ? Math.max(x(over), left) + 5 : left + 6;
    if (x(over) >= GUTTER) label(ctx, `${fault.name} ${fault.target}`, beside, y, 22, view.width - beside, ink);
  },
  hit: () => ({ type: "fault", index }),
});

const STAGES = ["election", "label", "endpoints", "client"];

// Per pixel the share of good writes by the time at which they were wanted, and the longest gap with its stages.
const routeLane = (route, index) => ({
  name: ROUTE_WORDS[route.route], height: 34, group: "Availability", fixed: true,
  draw(ctx, y) {
    drawDense(ctx, route, y + 2, 16, true);
    route.gaps.forEach((gap, k) => {
      if (gap.to < view.from || gap.from > view.to) return;
      const left = Math.max(x(gap.from), GUTTER);
      const right = Math.min(x(gap.to), view.width);
      ctx.globalAlpha = k === 0 ? 1 : 0.55;
      for (const [stage, from, to] of gap.stages) if (to > from) box(ctx, from, to, y + 20, 7, color[stage]);
      ctx.globalAlpha = 1;
      if (k > 0 && right - left < 60) return;
      ctx.strokeStyle = k === 0 ? color.unknown : color.quiet;
      ctx.strokeRect(left + 0.5, y + 1.5, Math.max(right - left - 1, 1), 27);
      const text = `${k === 0 ? "longest " : ""}${length(gap.to - gap.from)}${gap.closed ? "" : ", never ended"}`;
      const width = ctx.measureText(text).width;
      const inside = right - left > width + 8;
      const at = inside ? left + 4 : right + 4 + width < view.width ? right + 4 : left - width - 4;
      ctx.fillStyle = color.paper;
      ctx.globalAlpha = 0.85;
      ctx.fillRect(at - 2, y + 3, width + 4, 14);
      ctx.globalAlpha = 1;
      label(ctx, text, at, y + 2, 16, width + 1);
    });
  },
  hit(t, py) {
    const gap = route.gaps.findIndex((g) => g.from - perPixel() * 2 <= t && g.to + perPixel() * 2 >= t);
    if (gap >= 0 && (py > 18 || route.gaps[gap].to - route.gaps[gap].from > perPixel() * 6)) {
      return { type: "gap", index, gap };
    }
    return hitRow(route, t);
  },
});

const memberLane = (member, index) => ({
  name: member.pod, height: 36, group: "Members (role and term, entries behind)",
  draw(ctx, y) {
    for (const s of seen(member.segments)) {
      const silent = s.state === "silent";
      const text = silent ? "silent" : `${s.state.replace("_", " ")}, term ${s.term}`;
      const leads = s.state === "leader";
      ctx.globalAlpha = silent ? 0.4 : 1;
      box(ctx, s.from, s.to, y + 2, 16, silent ? color.silent : termColor(s.term, leads));
      ctx.globalAlpha = 1;
      if (s.state === "no_leader" || s.state === "learner") box(ctx, s.from, s.to, y + 15, 3, color.failed);
      const left = Math.max(x(s.from), GUTTER);
      const space = Math.min(x(s.to), view.width) - left - 8;
      if (space > (silent ? 40 : 16)) label(ctx, space > 90 ? text : String(s.term), left + 4, y + 2, 16, space, leads ? "#fff" : color.text);
    }
    drawLag(ctx, member, y + 20, 14);
  },
  hit(t) {
    const segment = segmentAt(member.segments, t);
    return segment < 0 ? null : { type: "member", index, segment };
  },
});

// The largest lag of every pixel, on a scale that shows one entry and a hundred thousand.
function drawLag(ctx, member, y, height) {
  const from = Math.max(lower(member.t, view.from) - 1, 0);
  const to = Math.min(lower(member.t, view.to) + 1, member.t.length);
  if (from >= to) return;
  const scale = (lag) => y + height - Math.min(Math.log10(1 + lag) / 5, 1) * (height - 1);
  ctx.strokeStyle = color.step;
  ctx.lineWidth = 1;
  ctx.beginPath();
  let column = -1;
  let top = 0;
  let before = null;
  const flush = () => {
    if (before === null) ctx.moveTo(column, scale(top)); else ctx.lineTo(column, scale(top));
    before = column;
  };
  for (let k = from; k < to; k++) {
    const px = Math.max(Math.round(x(member.t[k])), GUTTER);
    if (px !== column) {
      if (column >= 0) flush();
      if (k > from && member.t[k] - member.t[k - 1] > 1.5e6) before = null;
      column = px;
      top = 0;
    }
    top = Math.max(top, member.lag[k]);
  }
  flush();
  ctx.stroke();
}

const podLane = (pod, index) => ({
  name: pod.pod, height: 20, group: "Pods (readiness, role label)",
  draw(ctx, y) {
    for (const s of seen(pod.segments)) {
      const leads = s.role === "leader" && s.state !== "gone";
      const fill = { ready: color.ready, deleting: color.deleting, gone: color.gone }[s.state] ?? color.notready;
      box(ctx, s.from, s.to, y + 2, 16, fill);
      if (leads) box(ctx, s.from, s.to, y + 2, 4, color.leaderpod);
      const left = Math.max(x(s.from), GUTTER);
      const text = [s.state === "ready" ? "" : s.state, s.role].filter(Boolean).join(", ") || "no role";
      label(ctx, text, left + 4, y + 3, 16, Math.min(x(s.to), view.width) - left - 8);
      ctx.fillStyle = color.paper;
      if (x(s.from) > GUTTER) ctx.fillRect(x(s.from), y + 2, 1, 16);
    }
  },
  hit(t) {
    const segment = segmentAt(pod.segments, t);
    return segment < 0 ? null : { type: "pod", index, segment };
  },
});

const serviceLane = (service, index) => ({
  name: service.service, height: 20, group: "Leader service endpoints",
  draw(ctx, y) {
    for (const s of seen(service.segments)) {
      const many = s.serving.length;
      const fill = many === 1 ? color.leaderpod : many === 0 ? color.deleting : color.unknown;
      box(ctx, s.from, s.to, y + 2, 16, fill, many ? s.serving.join(", ") : "none");
      ctx.fillStyle = color.paper;
      if (x(s.from) > GUTTER) ctx.fillRect(x(s.from), y + 2, 1, 16);
    }
  },
  hit(t) {
    const segment = segmentAt(service.segments, t);
    return segment < 0 ? null : { type: "service", index, segment };
  },
});

const clientLane = (row) => ({
  name: `client ${row.number}`, height: 13, group: `Clients: ${ROUTE_WORDS[row.route]}`,
  draw(ctx, y) {
    drawRow(ctx, row, y + 1, 11);
  },
  hit: (t) => hitRow(row, t),
});

function drawRow(ctx, row, y, height) {
  const ops = model.ops;
  const from = lower(row.endMax, view.from);
  const to = lower(row.start, view.to);
  if (to - from > (view.width - GUTTER) / 2) {
    drawDense(ctx, row, y, height, false);
    drawLong(ctx, row, y, height);
  } else {
    for (const wanted of [0, 1, 2]) {
      ctx.fillStyle = color[OUTCOMES[wanted]];
      for (let k = from; k < to; k++) {
        const i = row.index[k];
        if (ops.outcome[i] === wanted) bar(ctx, i, y, height);
      }
    }
  }
  for (const i of row.anomalies) ring(ctx, i, y, height, color.anomaly);
  if (chosen?.type === "op" && ops.client[chosen.index] === row.client) {
    ring(ctx, chosen.index, y, height, color.focus);
  }
}

function bar(ctx, i, y, height) {
  const left = Math.max(x(model.ops.t[i]), GUTTER);
  const right = Math.min(x(model.ops.end[i]), view.width);
  if (right < GUTTER) return;
  const low = model.ops.outcome[i] === 2 ? height * 0.45 : height;
  ctx.fillRect(left, y + height - low, Math.max(right - left - (right - left > 3 ? 1 : 0), 1), low);
  if (low < height) ctx.fillRect(left, y, 2, height);
}

function ring(ctx, i, y, height, stroke) {
  const left = Math.max(x(model.ops.t[i]), GUTTER);
  const right = x(model.ops.end[i]);
  if (right < GUTTER || left > view.width) return;
  ctx.strokeStyle = stroke;
  ctx.lineWidth = 2;
  ctx.strokeRect(left - 1.5, y - 0.5, Math.max(Math.min(right, view.width) - left + 3, 5), height + 1);
  ctx.lineWidth = 1;
}

// Operations that a dense row would hide although they last for several pixels.
function drawLong(ctx, row, y, height) {
  const least = perPixel() * 1.5;
  const ops = model.ops;
  let drawn = 0;
  for (const i of row.long) {
    if (ops.end[i] - ops.t[i] < least || drawn > 1000) break;
    if (ops.end[i] < view.from || ops.t[i] > view.to) continue;
    ctx.fillStyle = color[OUTCOMES[ops.outcome[i]]];
    bar(ctx, i, y, height);
    drawn++;
  }
}

// Counts per pixel; equal neighbours become one rectangle. With `share`, a pixel without any operation stays empty and
// the height of the bad part is its share; without, the bad part takes at least half of the height.
function drawDense(ctx, row, y, height, share) {
  const runs = [[], [], [], []];
  const width = perPixel();
  const first = Math.max(Math.floor(x(row.start[0] ?? 0)), GUTTER);
  let k = lower(row.start, timeAt(first));
  let run = null;
  for (let px = first; px < view.width && k < row.start.length; px++) {
    const next = lower(row.start, timeAt(px + 1), k);
    if (next > k) {
      const [failed, unknown, late] = row.bad.map((sum) => sum[next] - sum[k]);
      const worst = unknown ? 2 : failed ? 1 : late ? 3 : 0;
      const part = worst === 0 ? 1 : Math.max((failed + unknown + late) / (next - k), share ? 0.25 : 0.5);
      if (worst > 0 && part < 1) add(runs[0], px, 1);
      if (run && run[0] === runs[worst] && run[1][0] + run[1][1] === px && run[1][2] === part) run[1][1]++;
      else run = [runs[worst], add(runs[worst], px, part)];
    } else if (!share || width > 2e4) {
      // Nothing began in this pixel: jump to the next one with an operation.
      px = Math.max(px, Math.floor(x(row.start[k])) - 1);
    }
    k = next;
  }
  runs.forEach((list, outcome) => {
    ctx.fillStyle = color[OUTCOMES[outcome]];
    for (const [px, wide, part] of list) ctx.fillRect(px, y + height * (1 - part), wide, height * part);
  });
}

function add(list, px, part) {
  const entry = [px, 1, part];
  list.push(entry);
  return entry;
}

// The operation under a point: within a few pixels the worst one, else the one that runs there.
function hitRow(row, t) {
  const slack = perPixel() * 3;
  const ops = model.ops;
  let best = -1;
  const to = lower(row.start, t + slack);
  for (let k = Math.max(lower(row.endMax, t - slack), to - 3000); k < to; k++) {
    const i = row.index[k];
    if (ops.end[i] < t - slack) continue;
    const rank = (j) => (ops.anomaly.has(j) ? 4 : ops.outcome[j]) - Math.abs(ops.t[j] - t) / (slack * 100 + 1);
    if (best < 0 || rank(i) > rank(best)) best = i;
  }
  return best < 0 ? null : { type: "op", index: best };
}

// The revisions that the watchers together have in the window: one scale, so that who is behind is seen.
function revisionRange() {
  let low = Infinity;
  let high = 0;
  for (const { t, revision } of model.watchers) {
    if (!t.length) continue;
    low = Math.min(low, revision[Math.max(lower(t, view.from) - 1, 0)]);
    high = Math.max(high, revision[Math.min(lower(t, view.to), t.length - 1)]);
  }
  return [low, Math.max(high - low, 1)];
}

const watcherLane = (watcher, index) => ({
  name: `watcher ${watcher.watcher}`, height: 40, group: "Watchers (revision)",
  draw(ctx, y) {
    const [low, range] = revisionRange();
    const scale = (revision) => y + 37 - Math.min(Math.max((revision - low) / range, 0), 1) * 34;
    const from = Math.max(lower(watcher.t, view.from) - 1, 0);
    const to = Math.min(lower(watcher.t, view.to) + 1, watcher.t.length);
    ctx.strokeStyle = color.step;
    ctx.beginPath();
    let column = -1e9;
    let level = null;
    for (let k = from; k < to; k++) {
      const px = Math.max(x(watcher.t[k]), GUTTER);
      if (watcher.what[k] === "o" || level === null) ctx.moveTo(px, scale(watcher.revision[k]));
      else if (px - column >= 1 || k === to - 1 || "cb".includes(watcher.what[k])) {
        ctx.lineTo(px, scale(level));
        ctx.lineTo(px, scale(watcher.revision[k]));
        column = px;
      }
      level = watcher.revision[k];
    }
    ctx.stroke();
    for (const k of watcher.notes.keys()) {
      const px = x(watcher.t[k]);
      if (px < GUTTER || px > view.width) continue;
      const opened = watcher.what[k] === "o";
      ctx.fillStyle = opened ? color.leaderpod : color.unknown;
      if (opened) ctx.fillRect(px - 1, y + 4, 2, 34); else ctx.fillRect(px - 3, y + 2, 6, 6);
    }
  },
  hit(t) {
    const slack = perPixel() * 5;
    for (const k of watcher.notes.keys()) if (Math.abs(watcher.t[k] - t) < slack) return { type: "watch", index, row: k };
    const row = Math.min(Math.max(lower(watcher.t, t + perPixel()) - 1, 0), watcher.t.length - 1);
    return row < 0 ? null : { type: "watch", index, row };
  },
});

const headLane = (group) => ({
  name: group, height: 20, head: true,
  draw(ctx, y) {
    ctx.fillStyle = color.raised;
    ctx.fillRect(0, y, view.width, 20);
    label(ctx, `${folded.has(group) ? "▸" : "▾"} ${group}`, 8, y, 20, view.width - 16, color.quiet);
  },
  hit: () => ({ type: "group", group }),
});

function layLanes() {
  const all = [
    ...model.faults.map(faultLane), ...model.routes.map(routeLane), ...model.members.map(memberLane),
    ...model.pods.map(podLane), ...model.services.map(serviceLane), ...model.rows.map(clientLane),
    ...model.watchers.map(watcherLane),
  ];
  lanes.length = 0;
  let group = null;
  let top = AXIS;
  const push = (lane) => {
    lane.top = top;
    top += lane.height;
    lanes.push(lane);
  };
  for (const lane of all) {
    if (lane.group !== group) push(headLane(group = lane.group));
    if (!folded.has(group)) push(lane);
  }
  return top + 8;
}

function drawLanes(ctx, scroll) {
  ctx.fillStyle = color.paper;
  ctx.fillRect(0, 0, view.width, view.height);
  for (const fault of model.faults) {
    const [from, to] = faultWindow(fault);
    box(ctx, from, Math.max(to, from + perPixel() * 2), AXIS, view.height, color.faultband);
  }
  for (const lane of lanes) {
    const y = lane.top - scroll;
    if (y + lane.height < AXIS || y > view.height) continue;
    lane.draw(ctx, y);
    if (lane.head) continue;
    ctx.fillStyle = color.paper;
    ctx.fillRect(0, y, GUTTER, lane.height);
    ctx.fillStyle = color.line;
    ctx.fillRect(GUTTER - 1, y, 1, lane.height);
    label(ctx, lane.name, 8, y, Math.min(lane.height, 22), GUTTER - 12);
  }
  drawAxis(ctx);
}
