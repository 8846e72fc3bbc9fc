// What the help shows as examples does what it says, in order, on the sample.
import assert from 'node:assert/strict';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { COMMANDS } from '../../../src/js/cli/commands.js';
import { install, sample } from './installed.mjs';

/** What an example cannot have here: a server, and a program that need not be installed. */
const NEEDS = [/https:/, /\| jq/];

let installed;
before(async () => {
  installed = await install();
  for (const [folder, file] of [['llama', 'base'], ['chat', 'ft-step1'], ['chat-v2', 'ft-step2']]) {
    await mkdir(join(installed.folder, folder));
    await copyFile(join(sample, `${file}.safetensors`), join(installed.folder, folder, 'model.safetensors'));
  }
  await copyFile(join(sample, 'base.safetensors'), join(installed.folder, 'base.safetensors'));
  for (const line of [
    'wdelta encode --base llama/ --finetuned chat/ -o chat.wdelta',
    'wdelta encode --base llama/ --finetuned chat-v2/ --parent chat.wdelta -o chat-v2.wdelta',
    'wdelta encode --base llama/ --finetuned chat/ --strategy int4 -o int4.wdelta',
    'wdelta decode --base llama/ chat.wdelta -o rebuilt/',
  ]) await shell(line);
});
after(() => installed.remove());

async function shell(line) {
  const { code, stdout, stderr } = await installed.run('/bin/sh', '-c', line.replace(/^wdelta\b/, 'node_modules/.bin/wdelta'));
  assert.equal(code, 0, `${line}: ${stderr}`);
  return stdout;
}

for (const [name, { examples }] of Object.entries(COMMANDS)) {
  test(`the examples of ${name}`, async () => {
    const lines = examples.split('\n').map((line) => line.trim()).filter((line) => !NEEDS.some((need) => need.test(line)));
    assert.ok(lines.length > 0);
    for (const line of lines) {
      // Outputs of the example before, and of the set-up, are there.
      const again = /^wdelta (encode|decode)/.test(line) ? ' --force' : '';
      const stdout = await shell(line + again);
      assert.equal(stdout === '', line.includes('>'), line);
    }
  });
}
