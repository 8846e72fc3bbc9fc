// What is written on a coloured cell can be read on every colour of the ramps, light and dark.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start } from './browser.mjs';

let site;
// Modules as they stand in the repository: one of them is asked for by name.
before(async () => (site = await start({})));
after(() => site?.stop());

/** Cells from one end of the ramp to the other, as the page paints them: the least contrast of their text, and where. */
async function leastContrast(signed) {
  const { BytesMap } = await import(new URL('js/components/map.js', document.baseURI).href);
  // As many as the map shows without putting neighbours together.
  const steps = Array.from({ length: 381 }, (_, i) => (signed ? i / 190 - 1 : i / 380));
  const rows = steps.map((at, i) => ({ name: `${i}`, key: `${i}`, shape: [1], elements: 1, bytes: 1, records: [], findings: [], group: { layer: null, expert: null, role: `${i}` }, at }));
  const measure = { id: 'at', label: 'At', signed, text: String, of: ([row]) => row.at };
  const map = new BytesMap({ onCell() {}, onBrush() {} });
  document.body.append(map.element);
  map.update({ rows, measure, log: false, area: false, open: null, tensor: null, cell: null, brush: [0, 1] });
  const cells = () => [...map.element.querySelectorAll('.cell')];
  while (cells().length < steps.length || cells().some((cell) => !cell.title)) await new Promise(requestAnimationFrame);

  const paint = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const light = (colour) => {
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((n) => (n <= 10 ? n / 3294.6 : ((n / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = cells().map((cell) => {
    const { color, backgroundColor } = getComputedStyle(cell);
    const [dim, bright] = [light(color), light(backgroundColor)].sort((a, b) => a - b);
    return { contrast: (bright + 0.05) / (dim + 0.05), backgroundColor, said: cell.title };
  });
  const colours = new Set(found.map(({ backgroundColor }) => backgroundColor)).size;
  return { colours, ...found.reduce((least, each) => (each.contrast < least.contrast ? each : least)) };
}

for (const theme of ['light', 'dark']) {
  for (const signed of [false, true]) {
    test(`text on the ${signed ? 'signed ' : ''}ramp, ${theme}`, async () => {
      const driven = await site.open({ theme });
      const { colours, contrast, backgroundColor, said } = await driven.page.evaluate(leastContrast, signed);
      assert.ok(colours > 300, `${colours} colours`);
      assert.ok(contrast >= 4.5, `${contrast.toFixed(2)} on ${backgroundColor}: ${said}`);
      await driven.close();
    });
  }
}
