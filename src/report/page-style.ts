/** The style of all report pages: colours are variables, once for light and once for dark; nothing comes from a network. */

export const pageStyle = `
:root {
  color-scheme: light dark;
  --ground: #ffffff; --raised: #f5f6f8; --ink: #1b1f24; --soft: #59636e; --line: #d5d9de;
  --none: #6b7280; --sequential: #b45309; --incremental: #b8336a; --continuous: #1a5fd0; --other: #0f766e;
  --dirty: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171b; --raised: #1d2127; --ink: #e6e9ed; --soft: #a2abb6; --line: #3a414a;
    --none: #9aa3b0; --sequential: #eda04f; --incremental: #f07fae; --continuous: #74a9ff; --other: #4fc3b4;
    --dirty: #9aa3b0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: break-word;
}
main { max-width: 960px; margin: 0 auto; padding: 28px 20px 56px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 12px; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 44px 0 10px; }
h3 { font-size: 0.95rem; margin: 0 0 4px; font-weight: 600; }
p { margin: 0 0 10px; max-width: 74ch; }
ul { margin: 0 0 12px; padding-left: 1.2em; max-width: 74ch; }
li { margin: 0 0 4px; }
code { font: 0.9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.lead { font-size: 1.06rem; }
.soft { color: var(--soft); font-size: 0.875rem; }
figure { margin: 0 0 18px; }
figcaption { max-width: 74ch; }
.panels { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 14px 20px; margin: 8px 0; }
.panel { min-width: 0; color: var(--ink); }
.panel.full { grid-column: 1 / -1; }
.panel svg { display: block; width: 100%; height: auto; }
.narrow { display: none; max-width: 460px; }
.wide { max-width: 920px; }
.half { max-width: 460px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; list-style: none; margin: 6px 0; padding: 0; max-width: none; }
.legend li { display: flex; align-items: center; gap: 7px; margin: 0; font-size: 0.875rem; }
.legend svg { flex: none; }
.box { overflow-x: auto; width: fit-content; max-width: 100%; border: 1px solid var(--line); border-radius: 6px; margin: 8px 0 14px; }
.box:focus-visible { outline: 2px solid var(--continuous); }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 8px 12px; font-weight: 600; }
caption span { position: sticky; left: 12px; display: inline-block; max-width: calc(100vw - 52px); }
th, td { padding: 5px 12px; text-align: right; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; }
th.group { text-align: left; border-left: 1px solid var(--line); padding-bottom: 0; color: var(--ink); }
th[scope="row"] { text-align: left; color: var(--ink); position: sticky; left: 0; background: var(--ground); }
th.corner { text-align: left; position: sticky; left: 0; background: var(--ground); }
tbody tr { border-top: 1px solid var(--line); }
tbody th.section { text-align: left; background: var(--raised); color: var(--ink); }
th.section span { position: sticky; left: 12px; }
@media (max-width: 700px) {
  main { padding: 18px 12px 40px; }
  h1 { font-size: 1.35rem; }
  .panels { grid-template-columns: minmax(0, 1fr); }
  .narrow { display: block; }
  .wide { display: none; }
  th, td { padding: 5px 9px; }
  th.section span { left: 9px; }
}
`;
