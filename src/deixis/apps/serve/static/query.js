// What is asked for: one plain object, kept in the address so that back, forward and a copied link work.

const row = text => (text !== null && /^\d{1,9}$/.test(text) ? Number(text) : null);
const share = (text, otherwise) => {
  const value = Number(text);
  return text !== null && value >= 0 && value <= 1 ? value : otherwise;
};

/** The query of an address; pictures are too large for one and are kept beside it. */
export function read(hash, pictures = []) {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const all = name => found.getAll(name).filter(Boolean);
  return {
    q: found.get("q") ?? "", also: all("and"), minus: all("minus"), where: all("where"),
    mix: share(found.get("mix"), 0.5), like: row(found.get("like")), sure: share(found.get("sure"), 0),
    tab: ["folders", "report"].includes(found.get("tab")) ? found.get("tab") : "search",
    see: row(found.get("see")), pictures,
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
  if (query.like !== null) parts.set("like", query.like);
  if (query.mix !== 0.5) parts.set("mix", query.mix);
  if (query.sure) parts.set("sure", query.sure);
  if (query.see !== null) parts.set("see", query.see);
  return `#${parts}`;
}

export const texts = query => [query.q, ...query.also].map(words => words.trim()).filter(Boolean);
export const pictured = query => query.pictures.length > 0 || query.like !== null;
export const mixed = query => pictured(query) && texts(query).length > 0;
/** Whether anything is asked for; otherwise the collection is shown as it lies. */
export const asks = query => texts(query).length > 0 || query.minus.length > 0 || pictured(query);

/** Whether it is one text and nothing else: for such queries it can be measured how sure an answer is. */
export const plain = query => texts(query).length === 1 && query.minus.length === 0 && !pictured(query);

/** What POST /search takes. */
export const body = query => ({
  texts: texts(query), minus_texts: query.minus, images: query.pictures.map(picture => picture.data),
  like: query.like, mix: query.mix, where: query.where, min_relevance: plain(query) ? query.sure : 0,
});

/** The same for two queries that have the same answer. */
export const key = query => JSON.stringify([
  texts(query), query.minus, query.pictures.map(picture => picture.id), query.like,
  mixed(query) ? query.mix : 0, query.where, plain(query) ? query.sure : 0,
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
