// What moves on the page: the choices go into the charts, into one line of words, and into a table.
"use strict";

const inside = JSON.parse(document.getElementById("inside").textContent);

const rowsOf = (columns) => {
  const names = Object.keys(columns);
  return columns[names[0]].map((_, i) => Object.fromEntries(names.map((n) => [n, columns[n][i]])));
};
const data = {};

// What is long is packed as the library is.
const plain = async (tables) =>
  typeof tables === "string" ? JSON.parse(await unpacked(tables)) : tables;

const control = (choice) => document.getElementById(`choice-${choice.name}`);

const isSwitch = (choice) => choice.options.length === 0;

const chosen = () =>
  Object.fromEntries(
    inside.choices.map((choice) => {
      const element = control(choice);
      const value = isSwitch(choice) ? element.checked : choice.options[element.selectedIndex];
      return [choice.name, value];
    })
  );

const inWords = (values) =>
  inside.choices
    .map((c) => `${c.label}: ${isSwitch(c) ? (values[c.name] ? "on" : "off") : values[c.name]}`)
    .join("; ");

const matching = (values) =>
  data[inside.numbers.data].filter((row) =>
    Object.entries(values).every(([name, value]) => !(name in row) || row[name] === value)
  );

function cell(kind, text, scope) {
  const element = document.createElement(kind);
  element.textContent = text === null ? "–" : String(text);
  if (scope) element.scope = scope;
  return element;
}

function fill(rows) {
  const names = Object.keys(inside.numbers.head);
  document.querySelector("#numbers tbody").replaceChildren(
    ...rows.map((row) => {
      const line = document.createElement("tr");
      const texts = names.map((n) => row[n] ?? row[`${n}_is`] ?? null); // zero, inf or nan
      line.append(...texts.map((text, i) => (i ? cell("td", text) : cell("th", text, "row"))));
      return line;
    })
  );
}

function say(sentence) {
  const note = document.getElementById("note");
  note.textContent = sentence;
  note.hidden = !sentence;
}

async function show(views) {
  const values = chosen();
  const rows = matching(values);
  for (const view of views) {
    for (const [name, value] of Object.entries(values)) view.signal(name, value);
    await view.runAsync();
  }
  fill(rows);
  document.getElementById("shown").textContent = inWords(values);
  say(rows.length ? "" : "Nothing was measured for this choice.");
}

// A live page: what its server has recorded since, every two seconds.
const PAUSE = 2000;
const PAPER = 860; // pixels of a chart that letters of 12 are 8 high of on paper
let known = inside.live;

function tell(fresh) {
  document.getElementById("subtitle").textContent = fresh.subtitle;
  const answer = document.getElementById("answer");
  answer.className = fresh.answer.mood;
  const strong = document.createElement("strong");
  strong.textContent = fresh.answer.text;
  answer.replaceChildren(strong, ` ${fresh.answer.more}`);
  const lines = fresh.verdicts.map((text) => cell("li", text));
  document.getElementById("verdicts").replaceChildren(...lines);
}

function draw(view, fresh) {
  for (const [name, rows] of Object.entries(fresh)) {
    if (name in view.getState({ data: () => true, signals: () => false }).data) {
      view.data(name, rows.map((row) => ({ ...row })));
    }
  }
}

async function follow(views) {
  try {
    const answer = await fetch(`now?${known}`, { cache: "no-store" });
    const fresh = await answer.json();
    if (fresh.state !== known && fresh.data) {
      known = fresh.state;
      for (const [name, { kept, columns }] of Object.entries(fresh.data)) {
        data[name] = [...(data[name] ?? []).slice(0, kept), ...rowsOf(columns)];
      }
      tell(fresh);
      for (const view of views) draw(view, data);
      await show(views);
      document.documentElement.dataset.state = known;
    }
    if (document.documentElement.dataset.live === "no") say("");
    document.documentElement.dataset.live = "yes";
  } catch {
    document.documentElement.dataset.live = "no";
    say("The page's server has ended: what is shown is the last that it knew.");
  }
  setTimeout(() => follow(views), PAUSE);
}

// A chart has the rows for itself: Vega writes into them.
const filled = (compiled) => ({
  ...compiled,
  data: compiled.data.map((table) =>
    table.name in data ? { ...table, values: data[table.name].map((row) => ({ ...row })) } : table
  ),
});

async function start() {
  for (const [name, columns] of Object.entries(await plain(inside.data))) {
    data[name] = rowsOf(columns);
  }
  const views = await Promise.all(
    (await specs).map((spec, i) => drawn(document.getElementById(`chart-${i}`), spec, filled))
  );
  for (const choice of inside.choices) {
    control(choice).addEventListener("change", () => show(views));
  }
  await show(views);
  const [first] = views; // drawn as wide as the page, its letters would be too small on paper
  window.addEventListener("beforeprint", () => first?.width(PAPER).run());
  const resized = () => window.dispatchEvent(new Event("resize")); // what was hidden has no width
  document.getElementById("more")?.addEventListener("toggle", resized);
  window.addEventListener("afterprint", resized);
  document.documentElement.dataset.ready = "yes";
  if (inside.live) {
    document.documentElement.dataset.state = known;
    follow(views);
  }
}

start().catch((error) => {
  say(`The charts cannot be drawn: ${error.message}`);
  console.error(error);
});
