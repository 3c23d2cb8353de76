#include "launcher/report/style.hpp"

namespace kangpt::report {

const char* const kStyle = R"(
:root{color-scheme:light dark;--page:#fff;--text:#1d2430;--soft:#5b6472;--line:#dfe3e8;--panel:#f5f7f9;--link:#0b5cad;
--c0:#0072b2;--c1:#d55e00;--c2:#008a64;--c3:#b34c8f;--c4:#b07d00;--c5:#3a9bd6;--c6:#56606e;--c7:#8a2d3b;
--crash:#a6267a;--good:#00704f;--paused:#0b5cad;--bad:#a6267a;--open:#8a5a00}
@media(prefers-color-scheme:dark){:root{--page:#12161c;--text:#e4e8ee;--soft:#9aa5b4;--line:#2e3742;--panel:#1a2028;--link:#7fb8f0;
--c0:#56b4e9;--c1:#ff9a4d;--c2:#2fc498;--c3:#e08cc0;--c4:#e6b422;--c5:#8fd0ff;--c6:#b4bdc9;--c7:#ff8a94;
--crash:#f07cc0;--good:#3fd0a0;--paused:#7fb8f0;--bad:#f07cc0;--open:#e6b422}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1000px;padding:24px 20px 48px;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
h1{font-size:26px;line-height:1.2;margin:0 0 4px}h2{font-size:18px;margin:0 0 10px}h3{font-size:16px;margin:18px 0 6px}
section{margin:32px 0 0}p{margin:8px 0}a{color:var(--link)}
.lead,.note,figcaption,.remark{color:var(--soft)}.note,figcaption,.remark{font-size:13px}
.badge{display:inline-block;padding:0 9px;border:1.5px solid;border-radius:999px;font-size:13px;font-weight:600;white-space:nowrap}
.good{color:var(--good)}.paused{color:var(--paused)}.bad{color:var(--bad)}.open{color:var(--open)}
.problems{margin:20px 0 0;padding:10px 14px;border-left:4px solid var(--open);background:var(--panel)}.problems ul{margin:4px 0 0;padding-left:20px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:20px 0 0}
.cards>div{background:var(--panel);border-radius:8px;padding:10px 14px}
.cards dt{color:var(--soft);font-size:13px}.cards dd{margin:0;font-size:20px;overflow-wrap:normal;font-weight:600;line-height:1.3}
.cards .remark{font-size:13px;font-weight:400;line-height:1.4}
figure{margin:0}figcaption{margin:0 0 2px}
svg.wide,svg.small{display:block;width:100%;height:auto;overflow:visible}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:22px}
svg text{font-size:11px;fill:var(--soft);font-family:inherit}svg.small text{font-size:13px}
svg .end{text-anchor:end}svg .middle{text-anchor:middle}
svg path,svg circle{fill:none;stroke:currentColor;vector-effect:non-scaling-stroke}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .line{stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}svg .dots{stroke-width:6.5;stroke-linecap:round}
svg path.band{fill:currentColor;fill-opacity:.2;stroke:none}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}
svg .line.d1{stroke-dasharray:7 4}svg .line.d2{stroke-dasharray:2 4}
.crash{color:var(--crash);stroke-width:1.6}.crash .at{stroke-width:1;stroke-opacity:.6}.resume{color:var(--c2);stroke-width:1.4}.resume .at{stroke-dasharray:3 3}
svg .filled,svg .checkpoint path,svg .not-finite path{fill:currentColor;stroke:none}
.checkpoint{color:var(--soft)}.not-finite{color:var(--crash)}.best{color:var(--text);stroke-width:1.6}
svg rect.run{fill:currentColor;fill-opacity:.35;stroke:none}svg rect.lost{fill:currentColor;fill-opacity:.65}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;margin:0 0 6px;padding:0;font-size:13px}
.legend li{display:flex;align-items:center;gap:6px}svg.key{flex:none;width:24px;height:12px;margin-right:2px}
th svg.key{vertical-align:-1px;margin-right:6px}
.scroll{overflow-x:auto;margin:8px 0}
table{border-collapse:collapse;width:100%;font-size:14px;overflow-wrap:normal}
th,td{padding:5px 12px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);font-weight:400}
thead th{color:var(--soft);font-size:13px;vertical-align:bottom}td.number,.figures td{text-align:right}.time,td.number,th code{white-space:nowrap}
.figures thead th,.phases thead th:nth-child(n+3){text-align:right}
td{white-space:pre-line}.facts th{color:var(--soft);width:150px}.facts td{overflow-wrap:anywhere}
code{font:13px ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.phases th{white-space:nowrap}.wide-cell{width:60%}.bar{height:12px;margin-top:5px;min-width:1px;background:var(--c0);border-radius:2px}
.sample{margin:0 0 14px}blockquote{margin:0;padding:8px 14px;background:var(--panel);border-radius:8px;white-space:pre-wrap;unicode-bidi:isolate}
details{margin:10px 0}summary{cursor:pointer;color:var(--link)}
details.one{border-top:1px solid var(--line);padding-top:12px;margin-top:24px}details.one>summary{font-size:18px;font-weight:600}
footer{margin-top:40px;color:var(--soft);font-size:13px}
@media(max-width:640px){body{padding:16px 12px 32px}svg.wide text{font-size:19px}svg.small text{font-size:11px}.cards{grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:8px}
.cards dd{font-size:18px}.facts th{width:auto}}
@media print{:root{--page:#fff;--text:#000;--soft:#444;--line:#ccc;--panel:#f4f4f4;--link:#000;--c0:#0072b2;--c1:#d55e00;--c2:#008a64;--c3:#b34c8f;
--c4:#b07d00;--c5:#3a9bd6;--c6:#56606e;--c7:#8a2d3b;--crash:#a6267a;--good:#00704f;--paused:#0b5cad;--bad:#a6267a;--open:#8a5a00}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}body{max-width:none;padding:0;font-size:12px}
figure,tr,.sample,.cards>div{break-inside:avoid}h2{break-after:avoid}.download{display:none}
details::details-content{content-visibility:visible;block-size:auto}}
)";

}  // namespace kangpt::report
