// Thresholds that move, and everything that follows them. The rule is that of common/samples/sets.py.
"use strict";
const Browse = (() => {
  const data = JSON.parse(document.getElementById("mined").textContent);
  const names = ["hallucinated", "sentence", "grounded"]; // from the lowest to the highest
  const flags = { hallucinated: "--hal_clip_thres", sentence: "--sentence_clip_thres", grounded: "--norm_clip_thres" };
  const verdictWords = { lowered: "lowered", raised: "raised", between: "left out", conflict: "left out", repeated: "left out" };
  const cut = { ...data.placed };
  const gallery = Gallery.all[0];
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byData = (name) => new Map(all(`[data-${name}]`).map((element) => [element.getAttribute(`data-${name}`), element]));
  const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const short = (number) => String(Number(number.toFixed(Math.max(data.digits, 1))));

  // The rule

  const isLow = (score) => score < cut.hallucinated;
  const isHigh = (score) => score > cut.grounded;
  const kindOf = (score) => (isLow(score) ? "low" : isHigh(score) ? "high" : "mid");
  const isWhole = (mean, least) => mean > cut.sentence && least > cut.hallucinated;

  const keyCount = data.keys.reduce((most, key) => Math.max(most, key + 1), 0);
  const verdicts = new Array(data.keys.length);
  const counts = () => {
    const found = { conflicts: 0, repeated_spans: 0, positives: 0, negatives: 0, uncertain: 0, sentences: 0 };
    const taken = new Uint8Array(keyCount);
    for (let number = 0; number < verdicts.length; number += 1) {
      const least = data.least[number];
      const most = data.most[number];
      const score = isLow(least) ? least : most;
      if (isLow(least) && isHigh(most)) {
        verdicts[number] = "conflict";
        found.conflicts += 1;
      } else if (taken[data.keys[number]]) {
        verdicts[number] = "repeated";
        found.repeated_spans += 1;
      } else {
        taken[data.keys[number]] = 1;
        verdicts[number] = isHigh(score) ? "raised" : isLow(score) ? "lowered" : "between";
        found[isHigh(score) ? "positives" : isLow(score) ? "negatives" : "uncertain"] += 1;
      }
    }
    for (let number = 0; number < data.means.length; number += 1) {
      if (isWhole(data.means[number], data.leasts[number])) found.sentences += 1;
    }
    return found;
  };

  // Cards

  const cards = data.cards.map((card, place) => {
    const element = document.getElementById(`c-${place}`);
    const marks = all("mark", element).map((mark) => ({
      mark,
      span: (mark.className.match(/\bs(\d+)\b/) || [])[1],
      object: (mark.className.match(/\bo(\d+)\b/) || [])[1],
      said: mark.title,
    }));
    const scores = all("[data-score]", element).map((item) => ({
      item,
      number: Number(item.dataset.score),
      name: item.querySelector(".what").textContent,
    }));
    const spans = all("[data-verdict]", element).map((item, index) => ({
      item,
      number: card.spans[index][0],
      objects: card.spans[index].slice(1),
      word: item.querySelector("b"),
      why: item.querySelector("small"),
    }));
    return { ...card, element, marks, scores, spans, whole: element.querySelector("[data-whole]") };
  });

  const reason = (verdict, objects, nameOf) => {
    const ordered = [...objects].sort((one, two) => data.objects[one] - data.objects[two]);
    const said = (number) => `${nameOf.get(number)} ${data.objects[number].toFixed(1)}`;
    const low = said(ordered[0]);
    const high = said(ordered.at(-1));
    return {
      lowered: () => `${low} is below ${short(cut.hallucinated)}`,
      raised: () => `${high} is above ${short(cut.grounded)}, and nothing is below ${short(cut.hallucinated)}`,
      between: () => `${low}: nothing is below ${short(cut.hallucinated)}, nor above ${short(cut.grounded)}`,
      conflict: () => `${low} is below ${short(cut.hallucinated)}, and ${high} above ${short(cut.grounded)}`,
      repeated: () => "it stands in an earlier caption of this image already",
    }[verdict]();
  };

  const wholeReason = (card) => {
    if (isWhole(card.mean, card.least)) return `learnt whole: mean ${card.mean.toFixed(1)}`;
    return card.least > cut.hallucinated
      ? `not learnt whole: mean ${card.mean.toFixed(1)}`
      : `not learnt whole: least ${card.least.toFixed(1)}`;
  };

  const place = (score) => 100 * Math.min(Math.max((score - data.axis[0]) / (data.axis[1] - data.axis[0]), 0), 1);

  // Nothing is touched that stays as it is: there are thousands of these.
  const setClass = (element, names) => {
    if (element.className !== names) element.className = names;
  };

  const showCard = (card) => {
    const nameOf = new Map(card.scores.map(({ number, name }) => [number, name]));
    const tags = new Set(["all"]);
    for (const span of card.spans) {
      const verdict = verdicts[span.number];
      tags.add(verdict);
      setClass(span.item, verdict);
      span.word.textContent = verdictWords[verdict];
      span.why.textContent = reason(verdict, span.objects, nameOf);
    }
    for (const { mark, span, object } of card.marks) {
      const classes = [];
      if (span !== undefined) classes.push("span", `s${span}`, verdicts[span]);
      if (object !== undefined) classes.push("object", `o${object}`, kindOf(data.objects[object]));
      setClass(mark, classes.join(" "));
    }
    for (const { item, number, name } of card.scores) {
      const kind = kindOf(data.objects[number]);
      setClass(item, `score ${kind}`);
      const where = { low: "below", mid: "between the thresholds", high: "above" }[kind];
      item.title = `${name}: ${where}${"outside" in item.dataset ? "; it reaches over the end of its sub-sentence and is left out" : ""}`;
    }
    if (card.whole) {
      const whole = isWhole(card.mean, card.least);
      tags.add(whole ? "kept" : "not-kept");
      setClass(card.whole, `badge ${whole ? "better" : "plain"}`);
      card.whole.textContent = wholeReason(card);
    } else {
      tags.add("nothing");
    }
    if (card.outside) tags.add("outside");
    card.element.dataset.tags = [...tags].join(" ");
    return tags;
  };

  const showCards = () => {
    const found = new Map();
    for (const card of cards) for (const tag of showCard(card)) found.set(tag, (found.get(tag) || 0) + 1);
    for (const filter of gallery.filters) filter.parentElement.querySelector("b").textContent = grouped(found.get(filter.value) || 0);
    gallery.refresh();
  };

  // Everything else

  const now = byData("count-of");
  const was = byData("was");
  const change = byData("change");
  const rows = all("[data-name-row]").map((row) => ({
    cells: ["low", "mid", "high"].map((kind) => row.querySelector(`[data-${kind}]`)),
    shares: all(".shares i", row),
  }));

  const showNames = () => {
    rows.forEach(({ cells, shares }, number) => {
      const kinds = { low: 0, mid: 0, high: 0 };
      for (const score of data.names[number]) kinds[kindOf(score)] += 1;
      Object.values(kinds).forEach((count, index) => {
        cells[index].textContent = grouped(count);
        shares[index].style.width = `${(100 * count) / data.names[number].length}%`;
      });
    });
  };

  const numberIn = (element) => Number(element.textContent.replace(/\D/g, ""));
  const before = Object.fromEntries([...was].map(([name, cell]) => [name, numberIn(cell)]));

  const showCounts = (found) => {
    for (const [name, count] of Object.entries(found)) {
      now.get(name).textContent = grouped(count);
      const by = count - before[name];
      change.get(name).textContent = by ? `${by > 0 ? "+" : "−"}${grouped(Math.abs(by))}` : "";
    }
    for (const cell of all("[data-tally]")) cell.textContent = grouped(found[cell.dataset.tally]);
    document.querySelector("[data-summary]").textContent =
      `${grouped(found.negatives)} spans would be lowered and ${grouped(found.positives)} raised; `
      + `${grouped(found.uncertain)} lie between the thresholds and ${grouped(found.conflicts)} are in conflict. `
      + `${grouped(found.sentences)} captions would be learnt whole.`;
    const empty = ["positives", "negatives", "sentences"].filter((name) => found[name] === 0);
    const warning = document.querySelector("[data-warning]");
    warning.hidden = empty.length === 0;
    warning.textContent = `No ${empty.join(", no ")} would be left; format_data.py refuses that.`;
  };

  const showLimits = () => {
    for (const name of names) {
      for (const range of all(`[data-range="${name}"]`)) {
        if (Number(range.value) !== cut[name]) range.value = cut[name];
        range.setAttribute("aria-valuetext", short(cut[name]));
      }
      const field = document.querySelector(`[data-number="${name}"]`);
      if (field !== document.activeElement) field.value = String(cut[name]);
      for (const shown of all(`[data-shown="${name}"]`)) shown.textContent = short(cut[name]);
      document.documentElement.style.setProperty(`--cut-${name}`, `${place(cut[name])}%`);
      const line = document.querySelector(`[data-line="${name}"]`);
      line.setAttribute("x1", place(cut[name]));
      line.setAttribute("x2", place(cut[name]));
    }
    document.querySelector('[data-zone="low"]').setAttribute("width", place(cut.hallucinated));
    const high = document.querySelector('[data-zone="high"]');
    high.setAttribute("x", place(cut.grounded));
    high.setAttribute("width", 100 - place(cut.grounded));
    document.querySelector("[data-flags]").textContent = names.map((name) => `${flags[name]} ${cut[name]}`).join(" ");
  };

  let waiting = 0;
  const show = () => {
    showLimits();
    showCounts(counts());
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      showNames();
      showCards();
    });
  };

  // A threshold that is moved takes those along that would come to lie on its wrong side.
  const move = (name, value) => {
    if (!Number.isFinite(value)) return;
    cut[name] = value;
    const at = names.indexOf(name);
    names.forEach((other, number) => {
      if (number < at) cut[other] = Math.min(cut[other], value);
      if (number > at) cut[other] = Math.max(cut[other], value);
    });
    if (cut.hallucinated === cut.grounded) {
      const step = 10 ** -data.digits;
      if (name === "grounded") cut.hallucinated = Number((value - step).toFixed(data.digits));
      else cut.grounded = Number((value + step).toFixed(data.digits));
    }
    show();
  };
  const back = () => {
    Object.assign(cut, data.placed);
    show();
  };

  document.addEventListener("input", (event) => {
    const { range, number } = event.target.dataset;
    if (range) move(range, Number(Number(event.target.value).toFixed(data.digits)));
    if (number && event.target.value.trim() !== "") move(number, Number(event.target.value));
  });
  const dock = document.querySelector("[data-dock]");
  const limits = document.querySelector("[data-limits]");
  new IntersectionObserver(([entry]) => { dock.hidden = entry.isIntersecting; }).observe(limits);
  limits.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("[data-back]").addEventListener("click", back);
  Page.onKey("r", back);
  Page.onKey("t", () => limits.querySelector("[data-range]").focus());
  show();
  return { move, counts, cut };
})();
