// The page of `deixis serve`: what is asked for, the answer, and the parts that show them.
import { Folders } from "./folders.js";
import { Form } from "./form.js";
import { Grid } from "./grid.js";
import { asks, body, key, plain, read, texts, write } from "./query.js";
import { $, call, complain, counted, make } from "./talk.js";
import { View } from "./view.js";

const PAUSE = 150; // milliseconds without a key before a search
const SETTLED = 2000; // milliseconds after which further typing is another query for the back button
const PAGE = 60;
const NOTHING = { q: "", also: [], minus: [], pictures: [], like: null, sure: 0 }; // is asked for
const KEPT = 12; // answers that the back button finds again

let run = { name: "", model: "", count: 0, columns: {}, calibrated: false, report: false, can_explain: false };
let query = read(location.hash);
let answer = null; // what is shown: { key, items, total, nothing, sentence, scroll }
let asking = null, adding = null, timer = 0, typed = -Infinity, left = 0, viewed = null;
const answers = new Map();
const pictures = new Map(); // by number: too large for an address, so that they last as long as the page

const form = new Form(() => query, change, error => complain($("trouble"), error));
const grid = new Grid($("grid"), {
  open: index => see(answer.items[index]),
  more, href: item => write({ ...query, see: item.row }), leave: () => $("words").focus(),
});
const view = new View({
  turn, leave: () => (history.state?.inside ? history.back() : go({ see: null }, "replace")),
  like: item => go({ ...NOTHING, like: item.row, see: null }, "push"),
});
const folders = new Folders(refresh);

// ---- the query and the address

function change(parts, how) {
  if (how === "settled") {
    typed = -Infinity;
    return;
  }
  $("trouble").hidden = true;
  const now = performance.now(), anew = how === "now" || now - typed > SETTLED;
  typed = how === "now" ? -Infinity : now;
  const other = key({ ...query, ...parts }) !== key(query);
  go({ ...parts, see: null }, anew && other ? "push" : "replace", how === "now" ? 0 : PAUSE);
}

function go(parts, how, delay = 0) {
  const inside = parts.see !== undefined && parts.see !== null && (how === "push" || Boolean(history.state?.inside));
  query = { ...query, ...parts };
  for (const picture of query.pictures) pictures.set(picture.id, picture);
  const state = { pictures: query.pictures.map(picture => picture.id), inside };
  history[how === "push" ? "pushState" : "replaceState"](state, "", write(query));
  follow(delay);
}

function arrive() {
  const kept = (history.state?.pictures ?? []).map(id => pictures.get(id)).filter(Boolean);
  query = read(location.hash, kept);
  follow(0);
}

/** Brings the page in line with the query. */
function follow(delay) {
  if (!$("search").hidden && query.tab !== "search") left = scrollY;
  const back = $("search").hidden && query.tab === "search";
  for (const tab of ["search", "folders", "report"]) {
    $(tab).hidden = query.tab !== tab;
    if (query.tab === tab) $(`tab-${tab}`).setAttribute("aria-current", "page");
    else $(`tab-${tab}`).removeAttribute("aria-current");
  }
  if (back) scrollTo(0, left);
  $("tab-search").href = write({ ...query, tab: "search", see: null });
  if (query.tab === "report" && !$("report").firstChild) {
    $("report").append(make("iframe", { src: "report", title: "The report of this run", sandbox: "" }));
  }
  if (query.tab === "folders") folders.show();
  form.draw();
  search(delay);
  look();
}

// ---- the answer

function search(delay) {
  const wanted = key(query);
  clearTimeout(timer);
  asking?.abort();
  asking = null;
  if (answer?.key === wanted) return busy(false);
  if (answer) answer.scroll = scrollY;
  if (answers.has(wanted)) return show(answers.get(wanted));
  timer = setTimeout(() => ask(wanted), delay);
}

async function ask(wanted) {
  const mine = asking = new AbortController();
  busy(true);
  try {
    const asked = body(query);
    const found = await call("search", { body: { ...asked, k: PAGE, offset: 0 }, signal: mine.signal });
    if (asking !== mine) return;
    asking = null;
    show({ ...found, asked, key: wanted, items: found.found, scroll: 0, greyed: found.nothing });
    answers.set(wanted, answer);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  } catch (error) {
    if (error.name === "AbortError" || asking !== mine) return;
    asking = null;
    busy(false);
    complain($("trouble"), error, () => search(0));
  }
}

function more() {
  return adding ??= add(answer).finally(() => { adding = null; });
}

async function add(mine) {
  if (!mine || mine.ended || asking) return;
  try {
    const found = await call("search", { body: { ...mine.asked, k: PAGE, offset: mine.items.length } });
    const known = new Set(mine.items.map(item => item.row));
    const fresh = found.found.filter(item => !known.has(item.row));
    mine.ended = found.found.length === 0 || fresh.length === 0;
    mine.items = [...mine.items, ...fresh];
    if (answer === mine) grid.add(fresh);
  } catch (error) {
    mine.ended = true; // until somebody asks again
    if (answer === mine) {
      complain($("trouble"), error, () => {
        mine.ended = false;
        $("trouble").hidden = true;
        grid.draw();
      });
    }
  }
  if (answer === mine) look();
}

function busy(on) {
  document.body.classList.toggle("busy", on);
  $("grid").setAttribute("aria-busy", String(on));
}

function show(found) {
  answer = found;
  busy(false);
  $("trouble").hidden = true;
  const none = found.greyed || found.items.length === 0;
  $("nothing").hidden = !none;
  if (none) $("nothing").replaceChildren(...nothing(found));
  say(found);
  document.body.classList.toggle("greyed", Boolean(found.nothing));
  $("grid").hidden = none;
  grid.show(none ? [] : found.items, none ? 0 : found.total);
  scrollTo(0, found.scroll);
  grid.draw();
  look();
}

function say(found) {
  $("status").textContent = $("nothing").hidden ? told(found) : "";
}

function told(found) {
  const count = counted(found.total);
  if (!asks(query)) return `${count}${query.where.length ? " pass the filters" : ""}`;
  if (found.nothing) return "The nearest results, though none of them seems to match.";
  if (found.sentence) return `${count}, best first. ${found.sentence}`;
  const why = run.calibrated ? "is measured for one phrase by itself only" : "was not measured for this collection";
  return `${count}, best first. The scores are plain similarities: how sure they are ${why}.`;
}

function nothing(found) {
  const act = (words, parts) => make("button", { type: "button", onclick: () => change(parts, "now") }, words);
  if (!run.count && !found.total && !query.where.length) {
    const cure = "Add some: deixis index my-photos --out INDEX, or look in Folders.";
    return [make("h2", {}, "No pictures yet"), make("p", {}, cure)];
  }
  const filtered = query.where.length || (query.sure && plain(query));
  const tips = [];
  if (asks(query)) tips.push("Describe what the picture shows in simple words: “a red cup” rather than an article number.");
  if (query.minus.length) tips.push("The words after “without” may exclude too much.");
  if (filtered) tips.push("The filters exclude some pictures.");
  const some = found.items.length > 0;
  const buttons = [
    ...(some ? [make("button", { type: "button", onclick: nearest }, "Show the nearest anyway")] : []),
    ...(query.minus.length ? [act("Search without “without”", { minus: [] })] : []),
    ...(filtered ? [act("Drop the filters", { where: [], sure: 0 })] : []),
    ...(asks(query) ? [act("Show all pictures", { ...NOTHING, where: [] })] : []),
  ];
  const why = found.sentence.replace(/^nothing here matches\W*/i, "");
  const because = why ? why[0].toUpperCase() + why.slice(1) : "No picture passes the filters.";
  return [make("h2", {}, "Nothing here matches"), make("p", {}, because),
    make("ul", {}, ...tips.map(tip => make("li", {}, tip))), make("div", { className: "acts" }, ...buttons)];
}

function nearest() {
  answer.greyed = false;
  show(answer);
  grid.focus(0);
}

// ---- one picture

const place = () => answer?.items.findIndex(item => item.row === query.see) ?? -1;

function see(item) {
  viewed = item;
  go({ see: item.row }, view.open ? "replace" : "push");
}

async function look() {
  if (query.see === null || query.tab !== "search") {
    if (!view.open) return;
    view.close();
    const index = viewed ? answer?.items.findIndex(item => item.row === viewed.row) ?? -1 : -1;
    if (index >= 0 && !$("grid").hidden) grid.focus(index);
    else $("words").focus();
    return;
  }
  const index = place();
  const item = index >= 0 ? answer.items[index] : await alone(query.see);
  if (!item || item.row !== query.see) return;
  viewed = item;
  view.show(item, {
    texts: texts(query), explains: run.can_explain, before: index > 0, after: index >= 0 && index < answer.total - 1,
  });
}

/** A picture that is not among those shown: a link led to it. */
async function alone(row) {
  if (viewed?.row === row) return viewed;
  if (!answer) return null; // the answer comes first, and may hold it
  try {
    return await call(`items/${row}`);
  } catch (error) {
    go({ see: null }, "replace");
    complain($("trouble"), error);
    return null;
  }
}

async function turn(step) {
  const index = place();
  if (index < 0) return;
  if (index + step >= answer.items.length) await more();
  const item = answer.items[index + step];
  if (item && query.see !== null) see(item);
}

// ---- the run

async function meet() {
  try {
    run = await call("run");
    $("name").textContent = run.name;
    document.title = `${run.name}: search pictures`;
    $("name").title = `${counted(run.count)}, model ${run.model}`;
    $("tab-report").hidden = !run.report;
    form.knows(run);
    if (answer) say(answer);
    look();
  } catch (error) {
    complain($("trouble"), error, () => { meet(); search(0); });
  }
}

function refresh() {
  answers.clear();
  answer = null;
  meet();
  search(0);
}

document.addEventListener("keydown", event => {
  const writing = event.target.matches?.("input, select, textarea");
  if (event.key === "/" && !writing && !view.open && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    if (query.tab !== "search") go({ tab: "search" }, "push");
    $("words").focus();
    $("words").select();
  }
  if (event.key === "ArrowDown" && event.target === $("words") && answer?.items.length && !$("grid").hidden) {
    event.preventDefault();
    grid.focus(grid.current);
  }
});
addEventListener("popstate", arrive);
history.scrollRestoration = "manual";
meet();
arrive();
if (query.see === null && query.tab === "search" && matchMedia("(pointer: fine)").matches) $("words").focus();
