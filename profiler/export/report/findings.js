// Findings, ranked, each with what it would save, why, and its evidence.
const confidenceWords = {high: "high confidence", medium: "medium confidence", low: "low confidence", refuse: "not to be trusted"};

const savingBox = (finding, scaleTop) => {
  const [lower, expected, upper] = finding.saving.map((value) => value / perStep);
  const box = el("div", {class: "saving"});
  if (finding.withheld) {
    box.append(el("p", {class: "big"}, "Saving withheld"), el("p", {class: "small"}, "The health of the recording forbids a figure."));
    return box;
  }
  if (expected <= 0) {
    box.append(el("p", {class: "big"}, "No saving by itself"));
    if (upper > 0) box.append(el("p", {class: "small"}, `at most ${showTime(upper)} per ${stepWord}`));
    return box;
  }
  const of = Math.max(summary.window_length / perStep, 1);
  box.append(
    el("p", {class: "big"}, `saves ${showTime(expected)}`, el("span", {class: "rank"}, ` per ${stepWord}`)),
    el("p", {}, `${showShare(expected / of)} of a ${stepWord}`, el("br"), `between ${showTime(lower)} and ${showTime(upper)}`));
  const bar = el("div", {class: "rangebar", role: "img", "aria-label":
    `Saving per ${stepWord}: at least ${showTime(lower)}, expected ${showTime(expected)}, at most ${showTime(upper)}`});
  const span = el("div", {class: "span"});
  span.style.left = `${lower / scaleTop * 100}%`;
  span.style.width = `${(upper - lower) / scaleTop * 100}%`;
  const mid = el("div", {class: "mid"});
  mid.style.left = `${expected / scaleTop * 100}%`;
  bar.append(span, mid);
  box.append(bar);
  return box;
};

// The step at the end stays when a long name is cut.
const shortLabel = (label) => {
  const [, name, step] = label.match(/^(.*?)(, step -?\d+)?$/s);
  return shortName(name) + (step || "");
};

const evidenceList = (finding) => {
  if (finding.evidence.length === 0) return null;
  const list = el("ol");
  const fill = (to) => {
    for (let k = list.children.length; k < Math.min(to, finding.evidence.length); ++k) {
      const [, , start, length, label] = finding.evidence[k];
      list.append(el("li", {},
        el("button", {type: "button", class: "link", onclick: () => { showEvidence(finding); goTo(k); toTimeline(); }}, bdi(shortLabel(label) || "event")),
        el("span", {class: "figure"}, showTime(length)), el("span", {class: "figure"}, `at ${showAt(start)}`)));
    }
  };
  const more = el("button", {type: "button", onclick: () => { fill(list.children.length + 200); more.hidden = list.children.length >= finding.evidence.length; }},
    "Show more");
  const all = finding.evidence_total;
  const known = finding.evidence.length;
  const details = el("details", {class: "evidence"}, el("summary", {}, `Evidence: ${showCount(all)}${all > known ? `, the first ${showCount(known)} here` : ""}`), list, more);
  details.addEventListener("toggle", () => { if (list.children.length === 0) { fill(10); more.hidden = known <= 10; } });
  return details;
};

const toTimeline = () => {
  byId("timeline").scrollIntoView({behavior: calm() ? "auto" : "smooth", block: "start"});
  canvas.focus({preventScroll: true});
};

// A cause that took no time and a rate that nobody knows are not worth a line, as in the text.
const tellingFacts = ({facts}) => facts.filter(([name, value, of]) => value !== 0 || !(of === unit.ns || name.endsWith("_per_s")));

const card = (finding, scaleTop) => {
  const facts = tellingFacts(finding);
  const tags = [
    el("span", {class: "sev"}, finding.severity),
    el("span", {}, confidenceWords[finding.confidence]),
    finding.device !== undefined && summary.devices.length > 1 ? el("span", {}, bdi(deviceName(finding.device))) : null,
    finding.joint_rank > 0 && summary.findings.filter((one) => one.joint_rank > 0).length > 1 ? el("span", {}, `fix ${showCount(finding.joint_rank)} when fixing several`) : null,
    finding.link_source ? el("span", {}, `link speed: ${finding.link_source}`) : null,
    finding.can_apply ? el("span", {}, "Millrace can apply this itself") : null,
  ];
  return el("li", {class: `finding sev-${finding.severity}`},
    el("div", {},
      el("h3", {}, el("span", {class: "rank"}, `${finding.rank > 0 ? `${finding.rank}. ` : ""}`), bdi(finding.title)),
      el("p", {class: "tags"}, el("span", {}, `${finding.rule} ${finding.rule_name}`), tags),
      el("p", {class: "advice"}, bdi(finding.advice))),
    savingBox(finding, scaleTop),
    el("div", {},
      facts.length > 0 ? el("dl", {class: "measures"}, facts.map(([name, value, of]) => {
        const [shown, text] = showFact(name, value, of);
        return term(words(shown), text);
      })) : null,
      facts.length > 0 ? el("details", {class: "meanings"}, el("summary", {}, "What these figures mean"),
        el("dl", {}, facts.map(([name, value, of, meaning]) => el("div", {}, el("dt", {}, words(showFact(name, value, of)[0])), el("dd", {}, meaning))))) : null,
      evidenceList(finding)),
    el("div", {class: "actions"}, finding.evidence.length > 0 ? el("button", {type: "button", class: "main", onclick: () => {
      if (!tables.get("steps").start) return;
      showEvidence(finding);
      goTo(0);
      toTimeline();
    }}, "Show evidence") : null));
};

const buildFindings = () => {
  const {findings} = summary;
  const real = findings.filter((finding) => finding.severity !== "info");
  const infos = findings.filter((finding) => finding.severity === "info");
  const top = Math.max(1, ...findings.map((finding) => finding.saving[2] / perStep));
  byId("findinglist").append(...real.map((finding) => card(finding, top)));
  const note = byId("findings-note");
  if (findings.length === 0) {
    note.textContent = summary.health.verdict === "refuse" ? "No findings: the recording cannot be trusted." : "No findings.";
  } else if (real.length === 0) {
    note.textContent = "Nothing that is worth changing.";
  } else {
    note.textContent = `${plural(real.length, "finding", "findings")}, the largest expected saving first. The bars have one scale, up to ${showTime(top)} per ${stepWord}: ` +
      "the wide part goes from the lower to the upper estimate, the mark is the expected one." +
      (summary.joint_saving > 0 && real.length > 1 ? ` Savings do not add: all fixes together would save about ${showTime(summary.joint_saving / perStep)} per ${stepWord} (${showShare(summary.joint_saving / Math.max(summary.window_length, 1))}).` : "");
  }
  if (summary.more_findings > 0) note.textContent += ` ${showCount(summary.more_findings)} more, of lower rank, are left out of this page.`;
  if (infos.length > 0) {
    const box = byId("infos");
    box.hidden = false;
    box.querySelector("summary").textContent = `${plural(infos.length, "finding", "findings")} for information only`;
    byId("infolist").append(...infos.map((finding) => card(finding, top)));
  }
};
