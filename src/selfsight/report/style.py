"""The page's look: one style sheet, light and dark by the reader's setting, no font or picture from elsewhere."""

STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d2328; --soft: #5d676f; --line: #e4e1d9; --grid: #ebe8e1;
  --one: #1f6f6b; --two: #c2622d; --three: #5b5fa8; --good: #1f6f6b;
  --four: #a33d6d; --five: #4d7d2a; --six: #8a6d2f; --seven: #2f7fb8; --eight: #767c82;
  --plain: #8a6d2f; --wash: #eef5f3; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181b; --card: #1b2024; --ink: #e8e6e1; --soft: #9aa5ac; --line: #2c3338; --grid: #262d31;
  --one: #5cc0b4; --two: #e8935c; --three: #9ea2ee; --good: #5cc0b4;
  --four: #e88bb5; --five: #9ccb73; --six: #d9b968; --seven: #7cc0ee; --eight: #a4acb3;
  --plain: #d9b968; --wash: #1a2a2a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 48px 28px 72px; }
header p { margin: 0; color: var(--soft); }
h1 { font-size: 34px; line-height: 1.2; font-weight: 680; letter-spacing: -0.015em; margin: 2px 0 6px;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; font-weight: 660; letter-spacing: -0.005em; margin: 52px 0 4px; }
h2 + p { margin: 0 0 16px; color: var(--soft); max-width: 72ch; }
.verdict { margin: 26px 0 0; padding: 18px 22px; border-left: 5px solid var(--plain); background: var(--card);
  border-radius: 0 8px 8px 0; font-size: 18px; overflow-wrap: anywhere; }
.verdict.helped { border-color: var(--good); background: var(--wash); }
.facts { display: flex; flex-wrap: wrap; gap: 1px; margin: 26px 0 0;
  padding: 0; background: var(--line); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.facts div { flex: 1 1 auto; min-width: 96px; background: var(--card); padding: 13px 18px; }
.facts dt { color: var(--soft); font-size: 13px; } .facts dd { margin: 1px 0 0; font-size: 20px; font-weight: 620;
  overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; }
.scroll { overflow-x: auto; } .scroll > svg { min-width: 640px; } .scroll > table { min-width: 560px; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(360px, 100%), 1fr)); gap: 18px; }
figure { margin: 0; } figcaption { font-weight: 620; } figcaption span { display: block; color: var(--soft);
  font-weight: 400; font-size: 14px; margin-bottom: 6px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-family: inherit; fill: var(--soft); } .tick { font-size: 12px; } .name { font-size: 14px; }
svg .name { fill: var(--ink); } .grid { stroke: var(--grid); } .level { stroke: var(--soft); stroke-dasharray: 4 4; }
.c1 { --own: var(--one); } .c2 { --own: var(--two); } .c3 { --own: var(--three); } .c4 { --own: var(--four); }
.c5 { --own: var(--five); } .c6 { --own: var(--six); } .c7 { --own: var(--seven); } .c8 { --own: var(--eight); }
.line { fill: none; stroke: var(--own); stroke-width: 2; stroke-linejoin: round; }
.faint { opacity: 0.3; stroke-width: 1; } .dot { fill: var(--own); }
.bar { stroke: var(--own); stroke-width: 3; stroke-linecap: round; opacity: 0.45; }
.key { display: flex; flex-wrap: wrap; gap: 4px 22px; color: var(--soft); font-size: 14px; margin: 0 0 4px; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 7px;
  background: var(--own); }
table { width: 100%; border-collapse: collapse; font-size: 15px; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: 13px; white-space: nowrap; }
th, td { padding: 8px 16px 8px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; } td bdi { overflow-wrap: anywhere; } th { vertical-align: bottom; }
tr:last-child td { border-bottom: 0; } td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td small, td.why { color: var(--soft); } td small { display: block; font-size: 13px; }
tr.own td { font-weight: 640; } tr.own td small { font-weight: 400; } td div { color: var(--soft); font-size: 13px;
  font-weight: 400; }
code { font: 13.5px/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.views img { display: block; max-width: 100%; height: auto; margin: 0 auto; border-radius: 4px; }
.row { display: flex; gap: 12px; padding: 14px 0; border-bottom: 1px solid var(--line); overflow-x: auto; }
.row:last-child { border: 0; padding-bottom: 0; } .row:first-child { padding-top: 0; }
.row figure { flex: 0 0 104px; font-size: 12px; line-height: 1.35; color: var(--soft); overflow: hidden; }
.row figure:first-child { padding-right: 16px; border-right: 1px solid var(--line); flex-basis: 121px; }
.row img { width: 104px; height: 104px; object-fit: cover; border-radius: 6px; display: block; margin-bottom: 6px;
  border: 3px solid transparent; }
.row .same img { border-color: var(--one); } .row .other img { border-color: var(--two); }
.row figure.page { flex-basis: 190px; } .row .page p { height: 150px; overflow: hidden; margin: 0 0 6px;
  padding: 6px 8px; border: 3px solid var(--line); border-radius: 6px; color: var(--ink); overflow-wrap: anywhere; }
.row .page.same p { border-color: var(--one); } .row .page.other p { border-color: var(--two); }
.row bdi { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.row b { color: var(--ink); font-weight: 600; }
.note { color: var(--soft); font-size: 14px; margin: 12px 0 0; }
td small { white-space: nowrap; }
footer { margin-top: 56px; color: var(--soft); font-size: 14px; }
.sides { padding: 16px 0 6px; border-bottom: 1px solid var(--line); } .sides:last-child { border: 0; }
.sides .row { border: 0; padding: 6px 0; } .sides .row > b { flex: 0 0 112px; font-size: 14px; align-self: center; }
.sides .row figure, .sides .row figure:first-child { flex-basis: 78px; padding: 0; border: 0; }
.sides .row img { width: 78px; height: 78px; }
details summary { cursor: pointer; color: var(--soft); margin: 14px 0 10px; }
@media (max-width: 520px) { main { padding: 28px 16px 48px; } .sides .row { flex-wrap: wrap; overflow: visible; }
  .sides .row > b { flex-basis: 100%; } .sides .row figure, .sides .row figure:first-child { flex-basis: 52px; }
  .sides .row img { width: 52px; height: 52px; } .sides .row figure bdi { display: none; } }
.wide svg { max-width: 780px; } td:first-child small { white-space: normal; max-width: 34ch; }
@media print { body { background: #fff; } .card, .verdict, .facts { break-inside: avoid; } }
"""
