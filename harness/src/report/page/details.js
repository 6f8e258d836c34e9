// What is chosen and all that is known of it. Text of a run enters the page as text only.

let chosen = null;

function make(tag, text, ...inside) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  element.append(...inside);
  return element;
}

function facts(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) {
    if (value === "" || value === null || value === undefined) continue;
    list.append(make("dt", name), make("dd", String(value)));
  }
  return list;
}

function section(title, ...inside) {
  return [make("h3", title), ...inside];
}

function go(text, selection) {
  const button = make("button", text);
  button.type = "button";
  button.addEventListener("click", () => choose(selection, true));
  return button;
}

const opWord = (i) => `#${model.ops.id[i]} ${model.ops.request[i]}`;
const opOutcome = (i) => {
  const word = OUTCOMES[model.ops.outcome[i]];
  return model.ops.outcome[i] === 0 ? word : `${word}: ${model.ops.strings[model.ops.from[i]]}`;
};

// The row neighbours of an operation: what its client did around it, and who touched its key around its revision.
function neighbours(i) {
  const ops = model.ops;
  const row = model.rows.find((r) => r.client === ops.client[i]);
  const at = row.index.indexOf(i);
  const mine = [...row.index.slice(Math.max(at - 3, 0), at + 4)];
  const same = [];
  if (ops.key[i] !== 0) {
    for (let j = 0; j < ops.n; j++) if (ops.key[j] === ops.key[i]) same.push(j);
  }
  const order = (j) => ops.revision[j] || Infinity;
  if (ops.revision[i]) same.sort((a, b) => order(a) - order(b) || ops.t[a] - ops.t[b]);
  const there = same.indexOf(i);
  return [mine, same.slice(Math.max(there - 4, 0), there + 5)];
}

function opList(list, here) {
  const items = list.map((i) => {
    const item = make("li", null, go(`#${model.ops.id[i]}`, { type: "op", index: i }),
      ` ${clock(model.ops.t[i], 1000)} ${model.ops.request[i]} `,
      make("span", `${opOutcome(i)}${model.ops.revision[i] ? ` @${model.ops.revision[i]}` : ""}`));
    if (i === here) item.className = "here";
    return item;
  });
  return make("ul", null, ...items);
}

function opDetails(i) {
  const ops = model.ops;
  const [number, route] = ops.clients[ops.client[i]];
  const member = ops.strings[ops.from[i]];
  const [mine, same] = neighbours(i);
  const body = [
    make("h2", `${ops.strings[ops.kind[i]].replaceAll("_", " ")} #${ops.id[i]}: ${opOutcome(i)}`),
  ];
  if (ops.anomaly.has(i)) body.push(make("p", `Named by: ${ops.anomaly.get(i).join(", ")}`));
  body.push(
    ...section("Request", make("pre", ops.request[i])), ...section("Answer", make("pre", ops.answer[i])),
    ...section("Facts", facts([
      ["client", `${number} (${ROUTE_WORDS[route]})`],
      ["called", `${clock(ops.t[i])}, ${wall(ops.t[i])}`],
      ["took", ops.open[i] ? "no return was recorded" : length(ops.end[i] - ops.t[i])],
      ["late", ops.late[i] > 500 ? `${length(ops.late[i])} after the schedule wanted it` : ""],
      ["revision", ops.revision[i] || ""], ["term", ops.term[i] || ""],
      ["answered by", ops.outcome[i] === 0 ? memberName(member) : ""],
    ])),
    ...section("Its client around it", opList(mine, i)),
  );
  if (ops.key[i] !== 0) {
    const by = ops.revision[i] ? "revision" : "time";
    body.push(...section(`Key ${ops.strings[ops.key[i]]} around it, by ${by}`, opList(same, i)));
  }
  return [body, ops.t[i], ops.end[i]];
}

function memberName(id) {
  const name = model.names.get(id);
  return name ? `${name} (${id})` : id;
}

function stepList(fault) {
  return fault.steps.map(([t, step, evidence]) => {
    const item = make("li", `${clock(t, 1000)} ${step}`);
    for (const [name, value] of Object.entries(evidence)) item.append(make("pre", `${name}: ${value}`));
    return item;
  });
}

function segmentDetails(selection, lane, title, pairs) {
  const s = lane.segments[selection.segment];
  const body = [make("h2", title), facts([["from", `${clock(s.from)}, ${wall(s.from)}`], ["to", clock(s.to)],
    ["for", length(s.to - s.from)], ...pairs(s)])];
  const move = make("p");
  if (selection.segment > 0) move.append(go("Before", { ...selection, segment: selection.segment - 1 }), " ");
  if (selection.segment + 1 < lane.segments.length) move.append(go("After", { ...selection, segment: selection.segment + 1 }));
  return [[...body, move], s.from, s.to];
}

const DETAILS = {
  op: (s) => opDetails(s.index),
  fault(s) {
    const fault = model.faults[s.index];
    const [from, to] = faultWindow(fault);
    return [[make("h2", `Fault ${fault.id}: ${fault.name}`),
      facts([["target", fault.target], ["in effect", `${clock(from, 1000)} to ${clock(to, 1000)}, ${length(to - from)}`]]),
      ...section("Steps and evidence", make("ul", null, ...stepList(fault)))], fault.steps[0][0], fault.steps.at(-1)[0]];
  },
  gap(s) {
    const route = model.routes[s.index];
    const gap = route.gaps[s.gap];
    const fault = model.faults.findIndex((f) => f.id === gap.fault);
    const body = [make("h2", `${length(gap.to - gap.from)} without an acknowledged write: ${ROUTE_WORDS[route.route]}`),
      facts([["from", `${clock(gap.from)}, ${wall(gap.from)}`], ["to", clock(gap.to)],
        ["ended", gap.closed ? "by an acknowledgement" : "never"], ["elected", gap.elected]]),
      ...section("Where the time went", facts(gap.stages.map(([stage, from, to]) => [stage, length(to - from)])))];
    if (fault >= 0) body.push(make("p", null, go(`Fault ${gap.fault}`, { type: "fault", index: fault })));
    body.push(...section("Gaps of this route", make("ul", null, ...route.gaps.map((g, k) => make("li", null,
      go(length(g.to - g.from), { ...s, gap: k }), ` at ${clock(g.from, 1000)}`)))));
    return [body, gap.from, gap.to];
  },
  member: (s) => segmentDetails(s, model.members[s.index], model.members[s.index].pod, (m) => [["state", m.state],
    ["term", m.term || ""], ["member", m.member], ["leader", m.leader && memberName(m.leader)]]),
  pod: (s) => segmentDetails(s, model.pods[s.index], model.pods[s.index].pod, (p) => [["state", p.state],
    ["role label", p.role || "none"], ["node", p.node], ["uid", p.uid], ["resource version", p.resource_version]]),
  service: (s) => segmentDetails(s, model.services[s.index], model.services[s.index].service, (e) => [
    ["serving", e.serving.join(", ") || "none"], ["ready", e.ready.join(", ") || "none"],
    ["resource version", e.resource_version]]),
  watch(s) {
    const w = model.watchers[s.index];
    const what = { o: "opened", e: "events", p: "progress", c: "cancelled", b: "broken" };
    const line = (k) => `${clock(w.t[k], 1000)} stream ${w.stream[k]} ${what[w.what[k]]}${
      w.what[k] === "e" ? ` (${w.events[k]})` : ""} at revision ${w.revision[k]}`;
    const list = [];
    for (let k = Math.max(s.row - 6, 0); k < Math.min(s.row + 7, w.t.length); k++) {
      const item = make("li", null, go("·", { ...s, row: k }), ` ${line(k)} ${w.notes.get(k) ?? ""}`);
      if (k === s.row) item.className = "here";
      list.push(item);
    }
    return [[make("h2", `Watcher ${w.watcher}: ${what[w.what[s.row]]}`), make("p", line(s.row)),
      ...section("Around it", make("ul", null, ...list))], w.t[s.row], w.t[s.row]];
  },
};

// Shows the details of a selection, and with `move` brings it into view.
function choose(selection, move = false) {
  if (selection?.type === "group") {
    if (!folded.delete(selection.group)) folded.add(selection.group);
    resize();
    return;
  }
  chosen = selection;
  const panel = document.getElementById("details");
  const wasHidden = panel.hidden;
  panel.hidden = !selection;
  if (selection) {
    const [body, from, to] = DETAILS[selection.type](selection);
    document.getElementById("details-body").replaceChildren(...body);
    document.getElementById("said").textContent = body[0].textContent;
    panel.scrollTop = 0;
    if (move) {
      show(from, to);
      reveal(selection);
    }
  }
  if (wasHidden !== panel.hidden) resize();
  request();
}
