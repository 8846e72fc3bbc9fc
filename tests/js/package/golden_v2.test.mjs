// The golden files of version 2, with the installed package's WebAssembly: what native code and the Python decoder rebuild.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { install, repository } from './installed.mjs';

const folder = join(repository, 'tests/golden/v2');
let installed;

before(async () => {
  installed = await install();
});
after(() => installed.remove());

test('every golden file of version 2 decodes to what the manifest says', async () => {
  const { cases } = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'));
  await writeFile(
    join(installed.folder, 'golden.mjs'),
    `
    import { decode } from 'wdelta'
    import { createHash } from 'node:crypto'
    const found = {}
    for (const { name, base, deltas, files } of ${JSON.stringify(cases)}) {
      const folder = ${JSON.stringify(folder)} + '/' + name + '/'
      const result = await decode({ base: folder + 'base', deltas: deltas.map((delta) => folder + delta), workers: 0 })
      const rebuilt = result.data ? [{ path: Object.keys(files)[0], data: result.data }] : result.files
      found[name] = Object.fromEntries(rebuilt.map(({ path, data }) => [path, createHash('sha256').update(data).digest('hex')]))
    }
    console.log(JSON.stringify(found))
  `,
  );
  const { code, stdout, stderr } = await installed.run(process.execPath, 'golden.mjs');
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), Object.fromEntries(cases.map(({ name, files }) => [name, files])));
});
