// A line of words under the large picture, and what the server finds for them in it.
import { $, complain, make } from "./talk.js";

/** A subclass has `look(text, signal)`, which asks the server, `draw(answer)`, which shows the answer over the picture and
 * gives the elements that tell of it, and `clear()`, which takes it from the picture. */
export class Lookup {
  item = null;
  #asking = null;

  /** `name` is part of the ids of a button, a panel, its form, the text in it, and where the answer is told. */
  constructor(name) {
    [this.button, this.panel, this.form, this.text, this.told] =
      [`view-${name}`, name, `${name}-form`, `${name}-text`, `${name}-found`].map($);
    this.button.hidden = false;
    this.button.addEventListener("click", () => (this.panel.hidden ? this.#open() : this.close()));
    this.form.addEventListener("submit", event => {
      event.preventDefault();
      this.#ask();
    });
  }

  /** Is about another picture from now on; what is shown is looked for there, too. */
  shows(item, texts) {
    const open = !this.panel.hidden;
    this.close();
    this.item = item;
    this.text.value = texts.join(", ");
    if (open) this.#open();
  }

  close() {
    this.#asking?.abort();
    this.panel.hidden = true;
    this.clear();
    this.button.setAttribute("aria-expanded", "false");
  }

  #open() {
    this.panel.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    if (this.text.value) this.#ask();
    else {
      this.told.replaceChildren();
      this.text.focus();
    }
  }

  async #ask() {
    const text = this.text.value.trim();
    if (!text) return;
    this.#asking?.abort();
    const mine = this.#asking = new AbortController();
    this.told.replaceChildren(make("p", { className: "soft" }, "Looking…"));
    this.clear();
    try {
      const answer = await this.look(text, mine.signal);
      if (this.#asking === mine && !mine.signal.aborted) this.told.replaceChildren(...this.draw(answer));
    } catch (error) {
      if (error.name !== "AbortError") complain(this.told, error, () => this.#ask());
    }
  }
}
