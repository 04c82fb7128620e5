// The page of `deixis serve`: what is asked for, the answer, and the parts that show them.
import { Form } from "./form.js";
import { Grid } from "./grid.js";
import { Options, Selection } from "./options.js";
import { asks, body, key, language, means, named, plain, read, TABS, texts, wordy, write } from "./query.js";
import { $, call, complain, counted, HARDLY, make, remembered } from "./talk.js";
import { View } from "./view.js";

const PAUSE = 150; // milliseconds without a key before a search
const SETTLED = 2000; // milliseconds after which further typing is another query for the back button
const PAGE = 60;
const NOTHING = { q: "", also: [], minus: [], pictures: [], lost: 0, like: null, about: "", says: "", sure: 0 }; // is asked for
const KEPT = 12; // answers that the back button finds again

let run = { name: "", model: "", count: 0, fields: [], shown: [], calibrated: false, report: null, can_explain: false };
let query = read(location.hash);
let answer = null; // what is shown: { key, items, total, nothing, sentence, scroll }
let asking = null, adding = null, timer = 0, typed = -Infinity, left = 0, viewed = null;
const answers = new Map();
const pictures = new Map(); // by number: too large for an address, so that they last as long as the page

const form = new Form(() => query, change, error => complain($("trouble"), error));
const grid = new Grid($("grid"), {
  open: index => see(answer.items[index]),
  more, href: item => write({ ...query, see: named(item) }), leave: () => $("words").focus(),
  select: () => selection.draw(), seen: (tile, item) => { for (const each of [hits, words]) each?.seen(tile, item); },
});
let hits = null, words = null; // draw boxes on results, where a model can
const selection = new Selection(grid);
const options = new Options(() => query, parts => go({ ...parts, see: null }, "replace"), look => grid.look(look));
const wants = () => key(query, options.columns);
const view = new View({
  turn, leave: () => (history.state?.inside ? history.back() : go({ see: null }, "replace")),
  like: (item, about = "") => {
    form.likes(item.row);
    go({ ...NOTHING, like: named(item), about, see: null }, "push");
  },
});
let folders = null; // fetched with its tab

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
  if (parts.pictures) query.lost = 0;
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
  for (const tab of TABS) {
    $(tab).hidden = query.tab !== tab;
    if (query.tab === tab) $(`tab-${tab}`).setAttribute("aria-current", "page");
    else $(`tab-${tab}`).removeAttribute("aria-current");
  }
  if (back) scrollTo(0, left);
  $("tab-search").href = write({ ...query, tab: "search", see: null });
  if (query.tab === "report") report();
  if (query.tab === "folders") {
    folders ??= import("./folders.js").then(({ Folders }) => new Folders(refresh));
    folders.then(each => each.show());
  }
  if (query.tab in DESKS) desk(query.tab);
  form.draw();
  options.draw();
  lost();
  search(delay);
  look();
}

function report() {
  if (run.report === null || $("report").firstChild) return; // not known yet, or shown already
  $("report").append(run.report
    ? make("iframe", { src: "report", title: "The report of this run", sandbox: "" })
    : make("div", { className: "page plain" }, make("h2", {}, "No report"), make("p", {},
      "This index was made without adapting a model. deixis adapt writes a report of what that bought.")));
}

// Tabs that fill in a csv, and what of the run names it.
const DESKS = { label: "labels", captions: "captions", tags: "words" };
const desks = {};

async function desk(tab) {
  if (run.report === null || query.tab !== tab) return; // not known yet
  desks[tab] ??= import("./desks.js").then(({ open }) => open(tab, $(tab), run[DESKS[tab]]));
  await (await desks[tab]).show();
}

/** Says which pictures an address or a reload could not bring back. */
function lost() {
  $("lost").hidden = !query.lost;
  if (!query.lost) return;
  const some = query.lost === 1 ? "a picture that is" : `${query.lost} pictures that are`;
  $("lost").replaceChildren(
    `This search was made with ${some} not in this index. Neither a link nor a reload can bring that back: choose or `
    + "drop it again. ", make("button", { type: "button", className: "quiet", onclick: () => change({ lost: 0 }, "now") },
      "Search without it"));
}

// ---- the answer

function search(delay) {
  const wanted = wants();
  clearTimeout(timer);
  asking?.abort();
  asking = null;
  if (run.report === null) return; // what there is to be shown with each picture is not known yet
  if (answer?.key === wanted) return busy(false);
  if (answer) answer.scroll = scrollY;
  if (answers.has(wanted)) return show(answers.get(wanted));
  timer = setTimeout(() => ask(wanted), delay);
}

async function ask(wanted) {
  const mine = asking = new AbortController();
  busy(true);
  try {
    const sent = body(query, options.columns);
    const found = await call("search", { body: { ...sent, k: PAGE, offset: 0 }, signal: mine.signal });
    if (asking !== mine) return;
    asking = null;
    if (found.like) form.likes(found.like.row);
    adopt(found.known);
    const asked = body(query, options.columns);
    if (found.reranked) form.costs(found.reranked.seconds * run.rerank_count / Math.max(1, found.reranked.pairs));
    show({ ...found, asked, key: wants(), items: found.found, scroll: 0, greyed: found.nothing });
    answers.set(answer.key, answer);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
  } catch (error) {
    if (error.name === "AbortError" || asking !== mine) return;
    asking = null;
    busy(false);
    complain($("trouble"), error, () => search(0));
  }
}

/** A picture that the index holds is from now on asked for by its id, which a link and a reload bring back. */
function adopt(known) {
  const place = query.like === null ? known.findIndex(Boolean) : -1;
  if (place < 0) return;
  query.like = named(known[place]);
  query.pictures = query.pictures.filter((_, index) => index !== place);
  form.likes(known[place].row);
  history.replaceState({ ...history.state, pictures: query.pictures.map(picture => picture.id) }, "", write(query));
  form.draw();
}

/** How many of an answer are listed: those behind them hardly match. */
function likely({ items, unfolded, asked, nothing, reranked }) {
  const cut = unfolded || asked.sort || nothing || reranked ? -1 : items.findIndex(item => item.relevance !== null && item.relevance < HARDLY);
  return cut > 0 ? cut : -1;
}

$("unfold").addEventListener("click", () => {
  const first = likely(answer);
  answer.unfolded = true;
  answer.scroll = scrollY;
  show(answer);
  grid.focus(first);
});

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
    if (answer === mine) list();
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
  list(true);
  scrollTo(0, found.scroll);
  grid.draw();
  look();
}

/** Lists the answer, or what was added to it, as far as it is likely. */
function list(anew = false) {
  const none = !$("nothing").hidden, cut = likely(answer), total = cut < 0 ? answer.total : cut;
  const items = none ? [] : cut < 0 ? answer.items : answer.items.slice(0, cut);
  if (anew) hits?.begin(wanted());
  if (anew) words?.begin(wordy(query) && meant().length ? [meant().join(" ")] : [], items[0]);
  if (anew) grid.show(items, none ? 0 : total);
  else grid.add(items.slice(grid.items.length), total);
  const rest = answer.total - cut;
  $("fold").hidden = none || cut < 0;
  $("unfold").textContent = `${rest.toLocaleString("en-GB")} more that hardly ${rest === 1 ? "matches" : "match"}`;
}

/** The words of the query for models that read English: of another language what the dictionary read first. */
const meant = () => (language(query) ? (answer?.english ?? []).slice(0, 1) : texts(query));

/** What is to be drawn where it is in each result. */
const wanted = () => ($("hits-on").checked ? meant() : []);

/** Fetches the parts that show what this run's models can do beside searching. */
async function equips() {
  if (run.can_ground || run.can_align) {
    const { grounded, Hits, Words } = await import("./hits.js");
    if (run.can_ground) hits ??= new Hits("hits", grounded);
    if (run.can_align) words ??= new Words($("meant"), () => grid.near);
  }
  $("hits").hidden = !run.can_ground;
  if (view.lookups.length) return;
  if (run.can_ground) view.lookups.push(new (await import("./where.js")).Where());
  if (run.can_segment) view.lookups.push(new (await import("./segment.js")).Segment());
}

$("hits-on").checked = remembered("where") === "on";
$("hits-on").addEventListener("change", () => {
  remembered("where", $("hits-on").checked ? "on" : "off");
  hits.begin(wanted());
  grid.redraw();
});

function say(found) {
  $("status").textContent = $("nothing").hidden ? told(found) : "";
  $("about").textContent = found.notes?.length ? sentence(found.notes.join("; "))
    : asks(query) ? (plain(query) && !found.nothing && run.caveat) || "" : reads();
  $("about").hidden = !$("about").textContent;
}

const sentence = words => `${words[0].toUpperCase()}${words.slice(1)}`.replace(/[^.]$/, "$&.");

function reads() {
  if (!run.model) return "";
  return run.languages ? `The model, ${run.model}, reads ${run.languages}.`
    : `In which languages the model, ${run.model}, reads is not recorded.`;
}

function told(found) {
  const { says } = found.asked, held = says ? ` in which “${says}” stands` : "";
  const count = counted(found.total) + held, sorted = found.asked.sort ? `, sorted by ${found.asked.sort}` : "";
  const pass = found.total === 1 ? " passes the filters" : " pass the filters";
  if (!asks(query)) return `${count}${query.where.length ? pass : ""}${sorted}`;
  if (sorted) return `The ${found.total === 1 ? "best picture" : `best ${count}`}${sorted}.`;
  if (found.nothing) return "The nearest results, though none of them seems to match.";
  if (found.reranked) {
    const { pairs, seconds } = found.reranked;
    return `${count}; the first ${pairs} scored again, in ${seconds.toFixed(1)} s, best first.`;
  }
  if (found.sentence) return `${count}, best first. ${found.sentence}`;
  const why = run.calibrated ? "is measured for one phrase by itself only" : "was not measured for this collection";
  return `${count}, best first. The scores are plain similarities: how sure they are ${why}.`;
}

function nothing(found) {
  const act = (words, parts) => make("button", { type: "button", onclick: () => change(parts, "now") }, words);
  if (!run.count && !found.total && !query.where.length && !query.says) {
    const cure = "Add some: deixis index my-photos --out INDEX, or look in Folders.";
    return [make("h2", {}, "No pictures yet"), make("p", {}, cure)];
  }
  const filtered = query.where.length || query.says || (query.sure && plain(query));
  const tips = [];
  if (asks(query)) tips.push("Describe what the picture shows in simple words: “a red cup” rather than an article number.");
  if (query.minus.length) tips.push("The words after “without” may exclude too much.");
  if (filtered) tips.push("The filters exclude some pictures.");
  const some = found.items.length > 0;
  const buttons = [
    ...(some ? [make("button", { type: "button", onclick: nearest }, "Show the nearest anyway")] : []),
    ...(query.minus.length ? [act("Search without “without”", { minus: [] })] : []),
    ...(filtered ? [act("Drop the filters", { where: [], says: "", sure: 0 })] : []),
    ...(asks(query) ? [act("Show all pictures", { ...NOTHING, where: [] })] : []),
  ];
  const why = found.sentence.replace(/^nothing here is likely to match\W*/i, "");
  const because = why ? why[0].toUpperCase() + why.slice(1) : "No picture passes the filters.";
  return [make("h2", {}, some ? "Nothing here is likely to match" : "Nothing here matches"), make("p", {}, because),
    make("ul", {}, ...tips.map(tip => make("li", {}, tip))), make("div", { className: "acts" }, ...buttons)];
}

function nearest() {
  answer.greyed = false;
  show(answer);
  grid.focus(0);
}

// ---- one picture

const place = () => answer?.items.findIndex(item => means(query.see, item)) ?? -1;

function see(item) {
  viewed = item;
  go({ see: named(item) }, view.open ? "replace" : "push");
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
  if (!item || !means(query.see, item)) return;
  viewed = item;
  view.show(item, {
    texts: meant(), explains: run.can_explain, respects: run.respects, before: index > 0,
    after: index >= 0 && index < ($("fold").hidden ? answer.total : likely(answer)) - 1,
  });
}

/** A picture that is not among those shown: a link led to it. */
async function alone(reference) {
  if (means(reference, viewed)) return viewed;
  if (!answer) return null; // the answer comes first, and may hold it
  try {
    return await call(/^\d+$/.test(reference) ? `items/${reference}` : `items?id=${encodeURIComponent(reference)}`);
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
    for (const tab in DESKS) $(`tab-${tab}`).hidden = !run[DESKS[tab]];
    if (query.tab === "report") report();
    if (query.tab in DESKS) desk(query.tab);
    await equips();
    form.knows(run);
    options.knows(run);
    search(0); // with the columns that are shown
    if (answer) say(answer);
    look();
  } catch (error) {
    complain($("trouble"), error, meet);
  }
}

function refresh() {
  answers.clear();
  answer = null;
  grid.markAll(false);
  meet();
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
arrive();
meet();
if (query.see === null && query.tab === "search" && matchMedia("(pointer: fine)").matches) $("words").focus();
