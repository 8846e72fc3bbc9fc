#!/usr/bin/env node
// Makes the sample's deltas in www/sample/ from the fine-tunes of stories260K, with the package in pkg/.
//
//   node pkg-scripts/sample.mjs
import { statSync } from 'node:fs';
import { encode } from '../pkg/node.js';
import { root, script } from './lib/run.mjs';

const sample = `${root}/www/sample`;
const tuned = (/** @type {string} */ name) => `${root}/tests/data/stories260k-full/${name}.safetensors`;

/** @type {[name: string, fineTune: string, strategy: 'lossless' | 'int4', parents?: string[]][]} */
const DELTAS = [
  ['docs', 'ft-sft', 'lossless'],
  ['docs-int4', 'ft-sft', 'int4'],
  ['step-1', 'ft-step1', 'lossless'],
  ['step-2', 'ft-step2', 'lossless', ['step-1']],
];

await script(async () => {
  for (const [name, fineTune, strategy, parents = []] of DELTAS) {
    const output = `${sample}/${name}.wdelta`;
    await encode({
      base: `${sample}/base.safetensors`,
      finetuned: tuned(fineTune),
      strategy,
      parents: parents.map((parent) => `${sample}/${parent}.wdelta`),
      output,
      force: true,
    });
    console.log(`${name}.wdelta: ${strategy}, ${statSync(output).size.toLocaleString('en-US')} bytes`);
  }
});
