// What the help shows as examples does what it says, in order, on the sample.
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { COMMANDS } from '../../../src/js/cli/commands.js';
import { install, repository, sample } from './installed.mjs';

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

test('the example of the library in the README prints what it says', async () => {
  const readme = await readFile(join(repository, 'README.md'), 'utf8');
  const example = /^## Library\n+```js\n([^]*?)^```/m.exec(readme)?.[1] ?? '';
  const said = /console\.log\(report.*\/\/ of the pair above: (.*)$/m.exec(example)?.[1];
  // The pair above is another one than that of the help.
  const folder = join(installed.folder, 'readme');
  for (const [model, file] of [['llama', 'base'], ['chat', 'ft-sft']]) {
    await mkdir(join(folder, model), { recursive: true });
    await copyFile(join(sample, `${file}.safetensors`), join(folder, model, 'model.safetensors'));
  }
  await writeFile(join(folder, 'example.mjs'), example);
  const { code, stdout, stderr } = await installed.run('/bin/sh', '-c', 'cd readme && node example.mjs');
  assert.equal(code, 0, stderr);
  const [first, ...progress] = stdout.trim().split('\n');
  assert.equal(first, said);
  assert.match(progress.at(-1), /^(\d+) of \1$/);
});

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
