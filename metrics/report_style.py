"""The style sheet of the page: light and dark, wide and narrow."""

STYLE = """
:root{--ink:#1d2329;--soft:#58626b;--paper:#fbfbf9;--card:#fff;--line:#d9dde0;--track:#e6e9ea;
--good:#2f8f4e;--bad:#c3362b;--mark:#1d2329;--low:#8a6d1d;--link:#1f5fa8;
--hit:8,92,66;--miss:150,20,30;--strong:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9eb;--soft:#9aa5ad;--paper:#14181b;--card:#1c2226;
--line:#343c42;--track:#2c3439;--good:#4fb573;--bad:#ee6f62;--mark:#fff;--low:#e2bd5c;
--link:#86b8ee;--hit:30,140,98;--miss:200,54,54;--strong:#fff}}
*{box-sizing:border-box}
html{scroll-padding-top:3.4rem;-webkit-text-size-adjust:100%}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1180px;padding:0 1rem 4rem;
color:var(--ink);background:var(--paper)}
h1{font-size:1.7rem;margin:1.6rem 0 .2rem}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:0;overflow-wrap:anywhere}
p{margin:.4rem 0;max-width:46rem}
a{color:var(--link)}
code{background:var(--track);padding:.05em .3em;border-radius:3px;overflow-wrap:anywhere}
.note{color:var(--soft)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
nav{position:sticky;top:0;z-index:3;display:flex;gap:.2rem 1.1rem;overflow-x:auto;
padding:.6rem 0;background:var(--paper);border-bottom:1px solid var(--line);white-space:nowrap}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
.gauges{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:1rem;
margin:1rem 0 1.4rem}
.gauge,.card{background:var(--card);border:1px solid var(--line);border-radius:8px}
.gauge{padding:.8rem 1rem}.gauge p{margin:0}
.gauge .name{color:var(--soft)}
.gauge .value{font-size:2rem;line-height:1.2;font-weight:600;font-variant-numeric:tabular-nums}
.gauge .note{margin-top:.5rem;font-size:.87rem}
.track{position:relative;height:8px;border-radius:4px;background:var(--track)}
.gauge .track{height:12px;border-radius:6px;margin-top:.5rem}
.track span{display:block;height:100%;border-radius:inherit;background:var(--good)}
.track i{position:absolute;top:-3px;bottom:-3px;width:3px;margin-left:-1.5px;
background:var(--mark);border-radius:1px;box-shadow:0 0 0 1px var(--card)}
.track i.floor,.key.floor{background:var(--low)}
.key{display:inline-block;width:3px;height:.9em;margin-right:.5em;vertical-align:-.1em;
background:var(--mark)}
.scroll{margin-top:.8rem;overflow-x:auto;border:1px solid var(--line);border-radius:8px;
background:var(--card)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{padding:.34rem .8rem;text-align:right;white-space:nowrap}
thead th{color:var(--soft);font-weight:600;border-bottom:1px solid var(--line);
vertical-align:bottom}
tbody tr+tr>*{border-top:1px solid var(--line)}
tbody th{font-weight:400}
td:first-child,th:first-child{text-align:left;position:sticky;left:0;z-index:1;
background:var(--card)}
td.text,th.text{text-align:left}td.text.note{white-space:normal;min-width:14rem}
.bar{display:flex;align-items:center;gap:.6rem}.bar .track{flex:1;min-width:7rem}
.bar>span{min-width:3.4em;text-align:right}
.swatch{display:inline-block;width:1em;height:1em;margin-right:.45em;vertical-align:-.12em;
border:1px solid rgba(128,136,144,.7);border-radius:2px}
.matrix{width:fit-content;max-width:100%;font-size:.83rem}
.matrix td,.matrix thead th{padding:0;width:2.15rem;min-width:2.15rem;text-align:center}
.matrix td{height:2.2rem;border-left:1px solid var(--line)}
.matrix tbody th{padding:0 .7rem}
.matrix thead th span{display:inline-block;writing-mode:vertical-rl;transform:rotate(180deg);
padding:.4rem 0}
.matrix thead th .swatch{padding:0;margin:0 0 .45em;vertical-align:0}
.matrix thead .corner{padding:.4rem .7rem;font-weight:400;text-align:left}
.hit{background:rgba(var(--hit),var(--o))}.miss{background:rgba(var(--miss),var(--o))}
.strong{color:var(--strong);font-weight:600}
details{margin-top:1rem}summary{cursor:pointer;color:var(--link);margin-bottom:.6rem}
.card{padding:.8rem 1rem 1rem;margin:1rem 0}
.rank{display:inline-block;min-width:1.7em;color:var(--soft);font-weight:400}
.reason{display:flex;flex-wrap:wrap;gap:.1rem 1rem;max-width:none}
#worst .reason b{color:var(--bad)}#best .reason b{color:var(--good)}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(46%,12rem),1fr));
gap:.7rem}
figure{margin:0}figure img{display:block;width:100%;height:auto;border-radius:4px}
figcaption{font-size:.82rem;color:var(--soft);margin-top:.15rem}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.6rem 0 0;font-size:.87rem;
max-width:none}
@media(max-width:600px){.panels{gap:.5rem}td,th{padding:.3rem .55rem}
tbody th{white-space:normal;min-width:8.5rem}td.text.note{white-space:nowrap}
.bar .track{min-width:4.5rem}
.card{padding:.7rem .7rem .8rem}}
@media print{nav{display:none}.card,.gauge{break-inside:avoid}}
"""
