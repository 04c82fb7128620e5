// What is asked with: the box, pictures, further words, words to keep away from, the slider, the filters.
import { filterOn, filtered, mixed, parsed, plain, respect, wordy } from "./query.js";
import { $, chance, make, thumbnail, Trouble } from "./talk.js";

const SENT = 1024; // pixels of the longer side: models look at far fewer
const AS_IS = 1 << 20; // bytes up to which a file is sent as it is
const LARGEST = 40 << 20;
const MOST = 4;
const FILTERS = 8; // that stand there unasked

const DATE = /^\d{4}-\d\d-\d\d([ T]|$)/;
const day = (date, later) => new Date(Date.parse(date.slice(0, 10)) + later * 864e5).toISOString().slice(0, 10);

let made = 0;
const told = value => ({ true: "yes", false: "no" })[value] ?? value;

/** A picture made ready: its bytes for the server, its look for the page. */
async function prepared(file) {
  if (file.size > LARGEST) throw new Trouble(`${file.name} is larger than 40 MB.`, "Use a smaller copy of it.");
  const bitmap = await createImageBitmap(file).catch(() => null);
  let bytes = file;
  if (bitmap && file.size > AS_IS) bytes = await drawn(bitmap, SENT, 0.92);
  if (!bitmap && file.size > 8 * AS_IS) {
    throw new Trouble(`${file.name} is not a picture that this browser can open.`, "Save it as JPEG or PNG first.");
  }
  const look = bitmap ? await address(await drawn(bitmap, 96, 0.8)) : "";
  const data = (await address(bytes)).replace(/^[^,]*,/, "");
  return { id: ++made, name: file.name || "picture", data, look, digest: await digest(file) };
}

/** The SHA-256 of a file, by which one of the index is known; a browser gives it to secure addresses only. */
async function digest(file) {
  if (!crypto.subtle) return "";
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return [...hash].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

function drawn(bitmap, side, quality) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // what is see-through is white, as for the model
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise(done => canvas.toBlob(done, "image/jpeg", quality));
}

function address(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Trouble("That could not be read.", "A folder? Choose the pictures in it."));
    reader.readAsDataURL(blob);
  });
}

export class Form {
  #run = { columns: {}, fields: [] };
  #further = new Set(); // columns that were asked for as filters
  #likeRow = null;

  /** `change(parts, how)` is told what the query becomes; how: "typing", "sliding" or "now". */
  constructor(query, change, trouble) {
    Object.assign(this, { query, change, trouble });
    $("words").addEventListener("input", () => change({ q: $("words").value }, "typing"));
    $("form").addEventListener("submit", event => {
      event.preventDefault();
      change({ q: $("words").value }, "now");
      if (matchMedia("(pointer: coarse)").matches) $("words").blur();
    });
    $("words").addEventListener("change", () => change({}, "settled"));
    $("mix").addEventListener("input", () => change({ mix: Number($("mix").value) }, "sliding"));
    this.#adder($("also"), "also");
    this.#adder($("without"), "minus");
    this.#adder($("says"), "says");
    $("rerank-on").addEventListener("change", () => change({ rerank: $("rerank-on").checked }, "now"));
    $("language").addEventListener("change", () => change({ language: $("language").value }, "now"));
    $("filter").addEventListener("click", () => this.#fold($("filters").hidden));
    this.#files();
  }

  #adder(input, list) {
    const add = () => {
      const words = input.value.trim();
      input.value = "";
      if (words && list === "says") this.change({ says: words }, "now");
      else if (words && !this.query()[list].includes(words)) this.change({ [list]: [...this.query()[list], words] }, "now");
    };
    input.addEventListener("keydown", event => {
      if (event.key === "Enter") add();
      else if (event.key === "Escape") input.value = "";
      else return;
      event.preventDefault();
    });
    input.addEventListener("change", add);
  }

  #files() {
    $("pick").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      this.take([...$("file").files]);
      $("file").value = "";
    });
    document.addEventListener("paste", event => {
      const files = [...(event.clipboardData?.files ?? [])];
      const words = event.target.matches?.("input") && event.clipboardData.types.includes("text/plain");
      if (!files.length || words) return; // office programs put a picture of the words beside the words
      event.preventDefault();
      this.take(files);
    });
    const over = event => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const show = on => document.body.classList.toggle("dropping", on);
    document.addEventListener("dragover", event => {
      if (!over(event)) return;
      event.preventDefault();
      show(true);
    });
    document.addEventListener("dragleave", event => { if (!event.relatedTarget) show(false); });
    document.addEventListener("drop", event => {
      show(false);
      if (!over(event)) return;
      event.preventDefault();
      this.take([...event.dataTransfer.files]);
    });
  }

  /** Takes files as pictures to search with. */
  async take(files) {
    try {
      const room = MOST - this.query().pictures.length;
      if (files.length > room) {
        throw new Trouble(`A search takes up to ${MOST} pictures.`, "Remove one first.");
      }
      const pictures = await Promise.all(files.map(prepared));
      this.change({ pictures: [...this.query().pictures, ...pictures], tab: "search", see: null }, "now");
    } catch (error) {
      this.trouble(error);
    }
  }

  /** What can be filtered by is known once the run is. */
  knows(run) {
    const fields = run.has_words ? run.fields.filter(name => name !== "says") : run.fields; // it has a line of its own
    this.#run = { ...run, fields };
    $("filter").hidden = !run.calibrated && fields.length === 0;
    $("says").hidden = !run.has_words;
    $("rerank").hidden = !run.can_rerank;
    this.costs(run.rerank_seconds);
    const spoken = Object.entries(run.dictionaries);
    $("language").hidden = !spoken.length;
    $("language").replaceChildren(...[["", run.languages || "as it is"], ...spoken].map(([value, name]) =>
      make("option", { value }, name)));
    $("words").readOnly = !run.reads_text;
    for (const id of ["also", "without"]) $(id).hidden = !run.reads_text;
    if (!run.reads_text) $("words").placeholder = "The model reads no words: add a picture";
    this.draw();
  }

  #fold(open) {
    $("filters").hidden = !open;
    $("filter").setAttribute("aria-expanded", open);
    if (open) $("filters").querySelector("select, input")?.focus();
  }

  /** Shows the query that is. */
  draw() {
    const query = this.query();
    if ($("words").value !== query.q) $("words").value = query.q;
    const language = this.#run.dictionaries?.[query.language];
    $("language").value = language ? query.language : "";
    $("words").lang = language ? query.language : ""; // for the browser's spelling
    const reads = language ?? (this.#run.languages === "English" ? "English" : "");
    if (this.#run.reads_text) $("words").placeholder = `Describe a picture${reads && ` in ${reads}`}`;
    $("mixing").hidden = !mixed(query);
    $("mix").value = query.mix;
    $("rerank-on").checked = query.rerank;
    $("rerank-on").disabled = !wordy(query) || Boolean(query.sort);
    this.#drawPictures(query);
    const chips = [
      ...query.also.map(words => this.#chip("and", words, { also: query.also.filter(other => other !== words) })),
      ...query.minus.map(words => this.#chip("−", words, { minus: query.minus.filter(other => other !== words) })),
      ...(respect(query) ? [this.#chip("alike in", query.about, { about: "" })] : []),
      ...(query.says ? [this.#chip("says", `“${query.says}”`, { says: "" })] : []),
      ...query.where.map(text => {
        const [column, sign, value] = parsed(text);
        const words = {
          "=": `${column}: ${told(value)}`, "~": `${column} with ${value}`,
          ">=": `${column} from ${value}`, "<=": `${column} to ${value}`,
          "<": DATE.test(value) ? `${column} to ${day(value, -1)}` : text,
        }[sign] ?? text;
        return this.#chip("only", words, { where: query.where.filter(other => other !== text) });
      }),
      ...(query.sure && plain(query) ? [this.#chip("only", `at least ${chance(query.sure, true)}`, { sure: 0 })] : []),
    ];
    $("chips").replaceChildren(...chips);
    this.#drawFilters(query);
  }

  /** About how long it takes to score the first results again. */
  costs(seconds) {
    const cost = seconds === null ? "" : `: about ${seconds < 10 ? Math.max(0.1, Number(seconds.toPrecision(1))) : Math.round(seconds)} s`;
    $("rerank-cost").textContent = `Re-rank the first ${this.#run.rerank_count}${cost}`;
  }

  /** Which row is searched like, once that is known. */
  likes(row) {
    this.#likeRow = row;
    this.#drawPictures(this.query());
  }

  #chip(sign, words, without) {
    const minus = sign === "−";
    return make("li", { className: minus ? "chip minus" : "chip" },
      make("span", { className: "sign" }, sign), make("bdi", {}, words),
      this.#off(`Take away: ${minus ? "without" : sign} ${words}`, without));
  }

  #drawPictures(query) {
    const shown = query.pictures.map(picture => this.#picture(
      picture.look, picture.name, { pictures: query.pictures.filter(other => other.id !== picture.id) }));
    if (query.like !== null) {
      const look = this.#likeRow === null ? "" : thumbnail(this.#likeRow, 96);
      shown.unshift(this.#picture(look, "a picture of the collection", { like: null, about: "" }));
    }
    const key = [query.like, this.#likeRow, ...query.pictures.map(picture => picture.id)].join();
    if ($("pictures").dataset.key === key) return; // the same pictures: leave them in peace while somebody types
    $("pictures").dataset.key = key;
    $("pictures").replaceChildren(...shown);
  }

  #picture(look, name, without) {
    return make("li", { className: "chip picture" },
      look ? make("img", { src: look, alt: `Like ${name}` }) : make("bdi", {}, name),
      this.#off(`Take away the picture: ${name}`, without));
  }

  #off(name, without) {
    const onclick = () => {
      this.change(without, "now");
      if (matchMedia("(pointer: fine)").matches) $("words").focus(); // on a phone that would bring up the keyboard
    };
    return make("button", { type: "button", className: "off", "aria-label": name, onclick }, "✕");
  }

  #drawFilters(query) {
    const host = $("filters");
    if (host.contains(document.activeElement)) return; // what is being chosen in must not go
    const asked = query.where.map(text => parsed(text)[0]).filter(name => this.#run.fields.includes(name));
    const first = this.#run.fields.filter(name => this.#run.columns[name]?.length !== 1).slice(0, FILTERS);
    const names = [...new Set([...first, ...asked, ...this.#further])];
    const parts = names.flatMap(name => this.#filter(query, name, this.#run.columns[name] ?? null));
    const others = this.#run.fields.filter(name => !names.includes(name));
    if (this.#run.calibrated && plain(query)) {
      parts.push(this.#select("how sure", ["", "0.2", "0.5", "0.8"], String(query.sure || ""),
        value => ({ sure: Number(value) }), value => `at least ${Number(value) * 10} in 10`));
    }
    if (others.length) parts.push(this.#another(others));
    host.replaceChildren(...parts);
  }

  #another(names) {
    const options = ["", ...names].map(one => make("option", { value: one }, one || "choose…"));
    const select = make("select", { "aria-label": "Another column" }, ...options);
    select.addEventListener("change", () => {
      const name = select.value;
      this.#further.add(name);
      select.blur();
      this.draw();
      [...$("filters").querySelectorAll("[aria-label]")].find(one => one.ariaLabel.startsWith(name))?.focus();
    });
    return make("label", {}, make("span", {}, "another column"), select);
  }

  #filter(query, name, values) {
    const set = sign => value => ({ where: filtered(this.query(), name, sign, value) });
    if (values === null) { // too many to be listed
      const held = filterOn(query, name, "~");
      return [this.#field(`${name} with`, held, set("~"), { type: "text", placeholder: "contains" })];
    }
    if (values.length > 1 && values.every(value => DATE.test(value))) return this.#dates(query, name, values);
    const numeric = value => typeof value !== "boolean" && value !== "" && Number.isFinite(Number(value));
    if (values.length > 6 && values.every(numeric)) {
      const low = Math.min(...values), high = Math.max(...values);
      const field = (word, sign, placeholder) =>
        this.#field(`${name} ${word}`, filterOn(query, name, sign), set(sign), { type: "number", placeholder });
      return [field("from", ">=", low), field("to", "<=", high)];
    }
    if (values.length >= 50) { // there may be more than were sent
      const shown = { type: "text", placeholder: values[0] };
      return [this.#field(`${name} with`, filterOn(query, name, "~"), set("~"), shown, values)];
    }
    const some = values.map(String).filter(Boolean);
    return [this.#select(name, ["", ...some], filterOn(query, name, "="), set("="), told)];
  }

  /** From one day to another, both included. */
  #dates(query, name, values) {
    const set = (sign, days) => value => ({ where: filtered(this.query(), name, sign, value && day(value, days)) });
    const limits = { type: "date", min: values[0].slice(0, 10), max: values.at(-1).slice(0, 10) };
    const last = filterOn(query, name, "<");
    return [this.#field(`${name} from`, filterOn(query, name, ">="), set(">=", 0), limits),
      this.#field(`${name} to`, last && day(last, -1), set("<", 1), limits)];
  }

  #field(name, value, parts, attributes, known = []) {
    const id = `known ${name}`.replaceAll(/\W/g, "-");
    const input = make("input", { value, step: "any", "aria-label": name, list: id, ...attributes });
    input.addEventListener("change", () => this.change(parts(input.value.trim()), "now"));
    const list = make("datalist", { id }, ...known.map(one => make("option", { value: one })));
    return make("label", {}, make("span", {}, name), input, list);
  }

  #select(name, values, value, parts, words) {
    const options = values.map(one => make("option", { value: one }, one === "" ? "any" : words(one)));
    const select = make("select", { "aria-label": name }, ...options);
    select.value = value;
    select.addEventListener("change", () => this.change(parts(select.value), "now"));
    return make("label", {}, make("span", {}, name), select);
  }
}
