// What is asked for: one plain object, kept in the address so that back, forward and a copied link work.

const refers = text => (text === null || text === "" ? null : text); // to an item: its id, or its row
/** How an address names an item: by its id, which holds when the index is changed; a row only where an id looks like one. */
export const named = item => (/^\d+$/.test(item.id) ? String(item.row) : item.id);
/** Whether an address means this item. */
export const means = (text, item) => Boolean(item) && text === (/^\d+$/.test(text) ? String(item.row) : item.id);
const row = text => (text !== null && /^\d{1,9}$/.test(text) ? Number(text) : null);
const share = (text, otherwise) => {
  const value = Number(text);
  return text !== null && value >= 0 && value <= 1 ? value : otherwise;
};

export const TABS = ["search", "label", "captions", "tags", "folders", "report"];

/** The query of an address; pictures are too large for one and are kept beside it. */
export function read(hash, pictures = []) {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const all = name => found.getAll(name).filter(Boolean);
  return {
    q: found.get("q") ?? "", also: all("and"), minus: all("minus"), where: all("where"),
    mix: share(found.get("mix"), 0.5), like: refers(found.get("like")), sure: share(found.get("sure"), 0),
    tab: TABS.includes(found.get("tab")) ? found.get("tab") : "search",
    see: refers(found.get("see")), pictures, lost: Math.max(0, (row(found.get("pictures")) ?? 0) - pictures.length),
    about: found.get("about") ?? "", says: found.get("says") ?? "", rerank: found.has("rerank"),
    language: /^[a-z]{2,8}$/.test(found.get("in") ?? "") ? found.get("in") : "",
    sort: found.get("sort") ?? "", show: found.has("show") ? all("show") : null,
  };
}

/** The address of a query, with nothing in it that is as usual. */
export function write(query) {
  const parts = new URLSearchParams();
  if (query.tab !== "search") parts.set("tab", query.tab);
  if (query.q) parts.set("q", query.q);
  for (const words of query.also) parts.append("and", words);
  for (const words of query.minus) parts.append("minus", words);
  for (const filter of query.where) parts.append("where", filter);
  if (query.about) parts.set("about", query.about);
  if (query.says) parts.set("says", query.says);
  if (query.rerank) parts.set("rerank", "on");
  if (query.language) parts.set("in", query.language);
  if (query.like !== null) parts.set("like", query.like);
  if (query.mix !== 0.5) parts.set("mix", query.mix);
  if (query.sure) parts.set("sure", query.sure);
  if (query.sort) parts.set("sort", query.sort);
  if (query.show?.length) for (const name of query.show) parts.append("show", name);
  else if (query.show) parts.set("show", "");
  if (query.pictures.length + query.lost) parts.set("pictures", query.pictures.length + query.lost);
  if (query.see !== null) parts.set("see", query.see);
  return `#${parts}`;
}

export const texts = query => [query.q, ...query.also].map(words => words.trim()).filter(Boolean);
export const pictured = query => query.pictures.length > 0 || query.like !== null;
export const mixed = query => pictured(query) && texts(query).length > 0;
/** Whether anything is asked for; otherwise the collection is shown as it lies. */
export const asks = query => texts(query).length > 0 || query.minus.length > 0 || pictured(query);

/** Whether it is one text and nothing else: for such queries it can be measured how sure an answer is. */
export const plain = query => texts(query).length === 1 && query.minus.length === 0 && !pictured(query) && !query.language;

/** Whether it is words and nothing else: such queries can be held against each picture. */
export const wordy = query => texts(query).length > 0 && query.minus.length === 0 && !pictured(query);
/** In which respect pictures are compared, where they are compared with one of the collection alone. */
export const respect = query => (query.like !== null && !query.pictures.length && !texts(query).length
  && !query.minus.length && !query.sort && !query.says ? query.about : "");
/** Whether the first results are scored again. */
export const reranks = query => query.rerank && wordy(query) && !query.sort;

/** In which language its words are; empty where there are none, or the model reads them. */
export const language = query => (texts(query).length || query.minus.length ? query.language : "");

/** What POST /search takes; `columns` are shown with each result. */
export const body = (query, columns) => ({
  texts: texts(query), minus_texts: query.minus, images: query.pictures.map(picture => picture.data),
  ...(query.pictures.length && query.pictures.every(picture => picture.digest)
    ? { digests: query.pictures.map(picture => picture.digest) } : {}),
  like: query.like !== null && /^\d+$/.test(query.like) ? Number(query.like) : query.like,
  about: respect(query), says: query.says, rerank: reranks(query), mix: query.mix, where: query.where, min_relevance: plain(query) ? query.sure : 0,
  language: language(query),
  sort: query.sort.replace(/^-/, ""), descending: query.sort.startsWith("-"), columns: columns.slice(0, 16),
});

/** The same for two queries that have the same answer. */
export const key = (query, columns = []) => JSON.stringify([
  texts(query), query.minus, query.pictures.map(picture => picture.id), query.like,
  mixed(query) ? query.mix : 0, query.where, plain(query) ? query.sure : 0,
  query.sort, columns, query.says, reranks(query), respect(query),
  language(query),
]);

const FILTER = /^(.+?)(<=|>=|!=|=|~|<|>)(.*)$/s;
/** A filter taken apart: column, sign, value. */
export const parsed = filter => (FILTER.exec(filter) ?? ["", filter, "", ""]).slice(1);
export const filterOn = (query, column, sign) =>
  query.where.map(parsed).find(part => part[0] === column && part[1] === sign)?.[2] ?? "";
/** The filters with one changed; an empty value takes it away. */
export function filtered(query, column, sign, value) {
  const kept = query.where.filter(text => {
    const [name, its] = parsed(text);
    return name !== column || its !== sign;
  });
  return value === "" ? kept : [...kept, `${column}${sign}${value}`];
}
