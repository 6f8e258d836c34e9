// The data of the page: unpacked once, then typed arrays and indexes that drawing can search in a few steps.

// The first three are outcomes; a write that was acknowledged long after it was wanted is late on the availability strip.
const OUTCOMES = ["ok", "failed", "unknown", "late"];
const LATE = 100000;
const ROUTE_WORDS = {
  service_held: "service, held", service_fresh: "service, fresh", dial_all: "dial all", member: "one member",
};

async function unpack() {
  const element = document.getElementById("data");
  const binary = atob(element.textContent.trim());
  element.textContent = "";
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function sums(deltas) {
  const out = new Float64Array(deltas.length);
  let sum = 0;
  for (let i = 0; i < deltas.length; i++) out[i] = sum += deltas[i];
  return out;
}

// First index whose value is >= wanted.
function lower(array, wanted, from = 0, to = array.length) {
  while (from < to) {
    const middle = (from + to) >> 1;
    if (array[middle] < wanted) from = middle + 1; else to = middle;
  }
  return from;
}

// One row of operations: times ascending, counts of bad ones summed up, so that any stretch is counted by two lookups.
function makeRow(ops, indexes, timeOf, classOf = (i) => ops.outcome[i]) {
  const n = indexes.length;
  const row = {
    index: Int32Array.from(indexes), start: new Float64Array(n), endMax: new Float64Array(n),
    bad: [1, 2, 3].map(() => new Uint32Array(n + 1)), long: null,
  };
  let latest = 0;
  for (let k = 0; k < n; k++) {
    const i = indexes[k];
    row.start[k] = timeOf(i);
    row.endMax[k] = latest = Math.max(latest, ops.end[i]);
    const found = classOf(i);
    row.bad.forEach((sum, at) => { sum[k + 1] = sum[k] + (found === at + 1 ? 1 : 0); });
  }
  row.long = Int32Array.from(indexes).sort((a, b) => (ops.end[b] - ops.t[b]) - (ops.end[a] - ops.t[a]));
  return row;
}

function makeOps(raw, span) {
  const n = raw.id_delta.length;
  const ops = {
    n, id: sums(raw.id_delta), t: sums(raw.t_delta), end: new Float64Array(n), open: new Uint8Array(n),
    late: Float64Array.from(raw.late), client: Int32Array.from(raw.client), kind: Int32Array.from(raw.kind),
    outcome: Uint8Array.from(raw.outcome), revision: sums(raw.revision_delta), term: Float64Array.from(raw.term),
    from: Int32Array.from(raw.from), key: Int32Array.from(raw.key), request: raw.request, answer: raw.answer,
    clients: raw.clients, strings: raw.strings, anomaly: new Map(), byId: new Map(), bad: [],
  };
  for (let i = 0; i < n; i++) {
    ops.open[i] = raw.duration[i] < 0 ? 1 : 0;
    ops.end[i] = ops.open[i] ? span : ops.t[i] + raw.duration[i];
    ops.byId.set(ops.id[i], i);
    if (ops.outcome[i] !== 0) ops.bad.push(i);
  }
  return ops;
}

function makeModel(raw) {
  const ops = makeOps(raw.ops, raw.span);
  const of = ops.clients.map(() => []);
  for (let i = 0; i < ops.n; i++) of[ops.client[i]].push(i);
  const order = ["service_held", "service_fresh", "dial_all", "member"];
  const rows = ops.clients.map(([number, route], c) => ({
    number, route, ...makeRow(ops, of[c], (i) => ops.t[i]),
  })).sort((a, b) => order.indexOf(a.route) - order.indexOf(b.route) || a.number - b.number);
  const writes = new Set(["put", "delete", "txn"].map((word) => ops.strings.indexOf(word)));
  const routes = raw.routes.map((route) => {
    const indexes = [];
    for (let i = 0; i < ops.n; i++) {
      if (ops.clients[ops.client[i]][1] === route.route && writes.has(ops.kind[i])) indexes.push(i);
    }
    indexes.sort((a, b) => (ops.t[a] - ops.late[a]) - (ops.t[b] - ops.late[b]));
    const wanted = (i) => ops.t[i] - ops.late[i];
    const classOf = (i) => ops.outcome[i] || (ops.end[i] - wanted(i) > LATE ? 3 : 0);
    return { ...route, ...makeRow(ops, indexes, wanted, classOf) };
  }).filter((route) => route.index.length > 0);
  for (const [id, check] of raw.anomalies) {
    const i = ops.byId.get(id);
    if (i === undefined) continue;
    if (!ops.anomaly.has(i)) ops.anomaly.set(i, []);
    ops.anomaly.get(i).push(raw.checks[check]);
  }
  const anomalies = [...ops.anomaly.keys()].sort((a, b) => ops.t[a] - ops.t[b]);
  for (const row of rows) {
    row.client = ops.client[row.index[0]];
    row.anomalies = anomalies.filter((i) => ops.client[i] === row.client);
  }
  const members = raw.members.map((m) => ({ ...m, t: sums(m.t_delta), revision: sums(m.revision_delta) }));
  const watchers = raw.watchers.map((w) => ({
    ...w, t: sums(w.t_delta), revision: sums(w.revision_delta), notes: new Map(w.notes),
  }));
  const names = new Map();
  for (const m of members) for (const s of m.segments) if (s.member) names.set(s.member, m.pod);
  return {
    base: Number(BigInt(raw.base) / 1000n), span: raw.span, phases: raw.phases, starts: raw.starts,
    faults: raw.faults, pods: raw.pods, services: raw.services, hashes: raw.hashes, members, watchers, routes, rows, ops,
    names, anomalies,
  };
}

// The stretch in which a fault was there: from its effect, or its injection, to the begin of its healing.
function faultWindow(fault) {
  const at = (...steps) => fault.steps.find((s) => steps.includes(s[1]))?.[0];
  const from = at("effective") ?? at("injected") ?? at("injecting") ?? fault.steps[0][0];
  const to = at("healing") ?? at("healed") ?? fault.steps[fault.steps.length - 1][0];
  return [from, Math.max(from, to)];
}
