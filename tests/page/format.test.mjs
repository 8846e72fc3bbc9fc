// Numbers as the page shows them, in plain Node: these functions need no document.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { about, bytes, count, duration } from '../../www/js/format.js';

/** Each input with the text it gives, blanks that do not break as blanks. */
const TABLES = [
  [
    duration,
    [
      [0, 'under 1 s'],
      [0.99, 'under 1 s'],
      [1, '1 s'],
      [59.4, '59 s'],
      [59.7, '1 min 00 s'],
      [60, '1 min 00 s'],
      [65, '1 min 05 s'],
      [119.7, '2 min 00 s'],
      [3599.4, '59 min 59 s'],
      [3599.7, '1 h 0 min'],
      [3629, '1 h 0 min'],
      [3630, '1 h 1 min'],
      [7199, '2 h 0 min'],
      [90_000, '25 h 0 min'],
    ],
  ],
  [
    about,
    [
      [0, '≈ 1 s'],
      [9.7, '≈ 10 s'],
      [12, '≈ 10 s'],
      [89, '≈ 90 s'],
      [90, '≈ 2 min'],
      [7199, '≈ 120 min'],
    ],
  ],
  [
    bytes,
    [
      [0, '0 B'],
      [999, '999 B'],
      [999.6, '1.00 kB'],
      [294_123_456, '294 MB'],
      [-1500, '-1.50 kB'],
    ],
  ],
  [
    count,
    [
      [64, '64'],
      [32_768, '32.8 k'],
      [999_600, '1.00 M'],
      [7e9, '7.00 B'],
    ],
  ],
];

for (const [format, rows] of TABLES) {
  test(format.name, () => {
    const shown = rows.map(([n]) => [n, format(n).replaceAll('\u00a0', ' ')]);
    assert.deepEqual(shown, rows);
  });
}
