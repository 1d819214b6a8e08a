"""The style sheet of a page: for a screen from 400 pixels on, and for paper."""

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --soft: #52606d; --line: #d9dfe5; --wash: #f5f7f9;
  --accent: #1f5f8b; --bar: #a9c5dc; --warn: #9c3520; --warn-wash: #fbf1ee; --good: #2a6546; }
* { box-sizing: border-box; }
html { font-size: 16px; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  "DejaVu Sans", sans-serif; }
main, nav { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem; }
nav { padding-top: 1rem; font-size: 0.85rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 0; padding: 0;
  list-style: none; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 0.2em; }
header { margin: 1.5rem 0 1rem; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; font-weight: 600; }
h2 { margin: 3rem 0 0.75rem; padding-top: 0.9rem; border-top: 1px solid var(--line);
  font-size: 1.3rem; font-weight: 600; }
h3 { margin: 0 0 0.5rem; font-size: 1.05rem; font-weight: 600; }
p { max-width: 46rem; margin: 0.6rem 0; }
.note, .subtitle, figcaption, caption { color: var(--soft); font-size: 0.9rem; }
.subtitle { margin: 0.35rem 0 0; overflow-wrap: anywhere; }
ul { max-width: 46rem; padding-left: 1.2rem; }
li { margin: 0.25rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr));
  gap: 0.75rem; margin: 1.25rem 0; }
.tile { padding: 0.75rem 0.9rem; border-radius: 6px; background: var(--wash); }
.tile b { display: block; font-size: 1.25rem; font-weight: 600; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 0.85rem; }
.verdicts { padding: 0.9rem 1.1rem 0.9rem 2.1rem; border-left: 4px solid var(--warn);
  border-radius: 0 6px 6px 0; background: var(--warn-wash); }
.verdicts.fine { border-color: var(--good); background: #eff6f2; }
sub { font-size: 0.72em; line-height: 0; }
.verdicts ul { max-width: none; margin: 0.3rem 0; }
.off { color: var(--warn); font-weight: 600; }
.fits { color: var(--good); font-weight: 600; }
.equation { margin: 0.9rem 0; padding: 0.7rem 1rem; border-left: 3px solid var(--bar);
  background: var(--wash); font-family: Georgia, "Times New Roman", "DejaVu Serif", serif;
  font-size: 1.08rem; overflow-x: auto; }
.equation p:not(.where) { margin: 0.15rem 0; white-space: nowrap; }
figure { margin: 0.75rem 0; }
img { display: block; width: 100%; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 0.5rem 2rem; align-items: start; }
.card { margin: 1rem 0; padding: 1rem 1.1rem; border: 1px solid var(--line); border-radius: 8px; }
.card .note { margin: 0.5rem 0 0; max-width: none; }
.share { float: right; color: var(--soft); font-weight: 400; font-variant-numeric: tabular-nums; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
  gap: 1rem; }
.gallery .card { margin: 0; }
.wide { overflow-x: auto; margin: 0.75rem 0; }
table { width: 100%; border-collapse: collapse; font-size: 0.9rem; }
caption { padding-bottom: 0.35rem; text-align: left; }
th, td { padding: 0.32rem 0.6rem 0.32rem 0; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; font-weight: 400; }
thead th { color: var(--soft); font-size: 0.82rem; vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.number + td.words, th.number + th.words { padding-left: 1.1rem; }
.card th, .card td { padding-top: 0.16rem; padding-bottom: 0.16rem; vertical-align: middle; }
.card th:nth-child(2), .card td:nth-child(2) { width: 34%; }
.facts { width: auto; }
.facts th { color: var(--soft); padding-right: 1.5rem; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
@media (max-width: 34rem) {
  .facts th, .facts td { display: block; padding-right: 0; }
  .facts th { padding-bottom: 0; border-bottom: 0; font-size: 0.85rem; }
}
.bar { display: block; width: 100%; min-width: 4rem; height: 0.8rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); }
.bar .mean { fill: var(--bar); }
.bar .interval { fill: var(--ink); }
pre { max-width: 100%; margin: 0.75rem 0; padding: 0.8rem 1rem; border-radius: 6px;
  background: var(--wash); font-size: 0.82rem; line-height: 1.45; overflow-x: auto; }
footer { margin: 3rem 0 2rem; color: var(--soft); font-size: 0.85rem; }
@page { margin: 16mm 14mm; }
@media print {
  html { font-size: 10.5pt; }
  nav { display: none; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 1.6rem; break-after: avoid; }
  h3, caption, thead { break-after: avoid; }
  #factors > p { break-after: avoid; }
  figure, .card, .tile, .equation, tr { break-inside: avoid; }
  .wide, pre { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .pair { grid-template-columns: 1fr 1fr; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
