// Galleries: elements with [data-gallery] that hold a [data-toolbar] and .card elements. Of a card it reads
//   data-tags     words; a filter shows the cards that have its word ("all": every card)
//   data-objects  names between vertical bars, for the choice of an object
//   data-NAME     a number, by which the order "NAME" sorts downwards and "-NAME" upwards
//   [data-text]   what is searched, with its heading
// Who changes tags or numbers calls refresh() of the gallery afterwards; Gallery.all has them in order.
"use strict";
class Gallery {
  static all = [];

  constructor(element) {
    this.element = element;
    this.list = element.querySelector(".cards");
    this.cards = [...element.querySelectorAll(".card")];
    this.search = element.querySelector("[data-search]");
    this.object = element.querySelector("[data-object]");
    this.sort = element.querySelector("[data-sort]");
    this.filters = [...element.querySelectorAll("[data-filter]")];
    this.count = element.querySelector("[data-count]");
    this.empty = element.querySelector(".empty");
    this.texts = new Map();
    this.shown = this.cards;
    const toolbar = element.querySelector("[data-toolbar]");
    toolbar.addEventListener("submit", (event) => event.preventDefault());
    toolbar.addEventListener("input", () => this.refresh());
    toolbar.addEventListener("change", () => this.refresh());
    for (const button of element.querySelectorAll("[data-reset]")) button.addEventListener("click", () => this.reset());
    this.refresh();
    Gallery.all.push(this);
  }

  textOf(card) {
    if (!this.texts.has(card)) {
      const parts = [...card.querySelectorAll("h3, [data-text]")].map((part) => part.textContent);
      this.texts.set(card, parts.join("\n").toLocaleLowerCase());
    }
    return this.texts.get(card);
  }

  chosenFilter() {
    const chosen = this.filters.find((filter) => filter.checked);
    return chosen ? chosen.value : "all";
  }

  isWanted(card, filter, object, words) {
    return (filter === "all" || card.dataset.tags.split(" ").includes(filter))
      && (!object || card.dataset.objects.includes(`|${object}|`))
      && words.every((word) => this.textOf(card).includes(word));
  }

  ordered(cards) {
    const order = this.sort ? this.sort.value : "";
    const name = order.replace("-", "");
    if (!name || !cards.length || !(name in cards[0].dataset)) return cards;
    const sign = order.startsWith("-") ? 1 : -1;
    return cards.map((card, place) => [Number(card.dataset[name]), place, card])
      .sort((one, two) => sign * (one[0] - two[0]) || one[1] - two[1])
      .map((entry) => entry[2]);
  }

  refresh() {
    const filter = this.chosenFilter();
    const object = this.object ? this.object.value : "";
    const words = this.search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(this.cards.filter((card) => this.isWanted(card, filter, object, words)));
    for (const card of this.cards) card.hidden = !wanted.has(card);
    const order = this.ordered(this.cards);
    if (order.some((card, place) => this.list.children[place] !== card)) this.list.append(...order);
    this.shown = order.filter((card) => wanted.has(card));
    this.count.textContent = this.shown.length === this.cards.length
      ? `All ${this.cards.length} shown`
      : `${this.shown.length} of ${this.cards.length} shown`;
    if (this.empty) this.empty.hidden = this.shown.length > 0;
  }

  reset() {
    this.search.value = "";
    if (this.object) this.object.value = "";
    if (this.filters.length) this.filters[0].checked = true;
    this.refresh();
  }

  choose(number) {
    if (!this.filters[number]) return false;
    this.filters[number].checked = true;
    this.refresh();
    return true;
  }

  // The card that the keyboard is at: the focused one, else the last that begins above the middle of the window.
  place() {
    const focused = this.shown.indexOf(document.activeElement.closest(".card"));
    if (focused >= 0) return focused;
    const above = this.shown.filter((card) => card.getBoundingClientRect().top < 0);
    return above.length - 1;
  }

  step(by) {
    const card = this.shown[Math.min(Math.max(this.place() + by, 0), this.shown.length - 1)];
    if (!card) return;
    card.focus({ preventScroll: true });
    Page.show(card);
  }

  // The gallery that is looked at: where the focus is, else the last whose top is above the middle of the window.
  static current() {
    const focused = Gallery.all.find((gallery) => gallery.element.contains(document.activeElement));
    const seen = Gallery.all.filter((gallery) => gallery.element.getBoundingClientRect().top < innerHeight / 2);
    return focused || seen.at(-1) || Gallery.all[0];
  }

  // A link to a card shows it, whatever was filtered.
  static showLinked() {
    const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const gallery = card && Gallery.all.find((one) => one.cards.includes(card));
    if (!gallery) return;
    if (card.hidden) gallery.reset();
    Page.show(card);
  }
}

for (const element of document.querySelectorAll("[data-gallery]")) new Gallery(element);
if (Gallery.all.length) {
  Page.onKey("j", () => Gallery.current().step(1));
  Page.onKey("k", () => Gallery.current().step(-1));
  Page.onKey("/", () => Gallery.current().search.focus());
  Page.onKey("0", () => Gallery.current().reset());
  for (let number = 1; number <= 9; number += 1) Page.onKey(String(number), () => Gallery.current().choose(number - 1));
  addEventListener("hashchange", Gallery.showLinked);
  Gallery.showLinked();
}
