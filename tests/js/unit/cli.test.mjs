// The command as a user meets it: exit codes, what goes where, and text from hostile files.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readdirSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { asFlags } from '../../../src/js/cli/arguments.js';
import { columns } from '../../../src/js/cli/units.js';
import { folder, noise, stage } from './stage.mjs';

const { path: staged } = stage();
const home = folder();
writeFileSync(join(home, 'base'), noise(300_000));
writeFileSync(join(home, 'a.wdelta'), 'abc');
mkdirSync(join(home, 'empty'));

/**
 * Runs the command in `home`.
 * @param {string[]} args
 * @param {{ env?: object, stdout?: 'pipe' | number, started?: (child: any) => void }} [options]
 * @returns {Promise<{ code: number, stdout: string, stderr: string }>}
 */
function wdelta(args, { env = {}, stdout = 'pipe', started } = {}) {
  const child = spawn(process.execPath, [join(staged, 'cli.js'), ...args], { cwd: home, env: { ...process.env, COLUMNS: '', ...env }, stdio: ['ignore', stdout, 'pipe'] });
  const result = { code: -1, stdout: '', stderr: '' };
  child.stdout?.on('data', (text) => (result.stdout += text));
  child.stderr.on('data', (text) => (result.stderr += text));
  started?.(child);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ ...result, code }));
  });
}

const wrong = {
  'no command': [[], /Start with/],
  'an unknown command': [['incode'], /USAGE: there is no command incode; did you mean encode\?/],
  'an unknown flag': [['encode', '--stratgy', 'int4'], /no flag --stratgy; did you mean --strategy\?/],
  'a flag of another command': [['verify', '--sparsity', '1', 'x'], /no flag --sparsity; see wdelta help verify/],
  'a flag without its value': [['decode', '--base', '--quiet', 'x'], /--base needs a value/],
  'a value for a switch': [['verify', '--json=1', 'x'], /--json takes no value/],
  'a flag given twice': [['hash', '--workers', '1', '--workers', '2', 'x'], /given twice/],
  'a missing flag': [['decode', 'a.wdelta', '-o', 'x'], /decode needs --base/],
  'a missing output': [['decode', 'a.wdelta', '--base', 'base'], /decode needs -o/],
  'a missing file argument': [['verify'], /verify takes at least 1 file argument, and none is given/],
  'too many arguments': [['hash', 'a', 'b'], /hash takes 1 file argument, and 2 are given/],
  'a stream as a file': [['inspect', '-'], /a file argument is -, a stream.*name a file/],
  'a stream as an output': [['decode', 'a.wdelta', '--base', 'base', '-o', '-'], /--output is -, a stream.*name a file/],
  'a URL as an output': [['decode', 'a.wdelta', '--base', 'base', '-o', 'https://example.com/x'], /https:\/\/example\.com\/x is not the URL of a file/],
  'an empty file name': [['inspect', ''], /an empty file name is given to inspect/],
  'an empty folder': [['decode', 'a.wdelta', '--base', 'empty', '-o', 'x'], /base is an empty list or folder; give at least one file/],
  "the base's folder as the output": [['decode', 'a.wdelta', '--base', 'empty', '-o', './empty/'], /empty\/ is the base's own folder.*choose another output/],
  'a flag before the command': [['--json', 'inspect', 'a.wdelta'], /a command comes first, then its flags.*not --json/],
  'too many workers': [['hash', 'base', '--workers', '65'], /--workers is a whole number from 0 to 64, not 65/],
  'an output that exists': [['decode', 'a.wdelta', '--base', 'base', '-o', 'a.wdelta'], /a\.wdelta exists already.*--force/],
};
for (const [name, [args, message]] of Object.entries(wrong)) {
  test(`${name} is wrong use`, async () => {
    const { code, stdout, stderr } = await wdelta(args);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, message);
  });
}

test('help teaches by examples', async () => {
  const { code, stdout } = await wdelta(['help', 'encode']);
  assert.equal(code, 0);
  assert.match(stdout, /wdelta encode --base llama\/ --finetuned chat\/ -o chat\.wdelta/);
  assert.equal((await wdelta(['encode', '-h'])).stdout, stdout);
  assert.equal((await wdelta(['encode', '--stratgy', '--help'])).stdout, stdout, 'before anything else is found wrong');
  const overview = (await wdelta(['--help'])).stdout;
  for (const word of ['help', 'version']) assert.equal((await wdelta(['help', word])).stdout, overview, 'a word that is no command of its own');
  for (const word of ['--version', 'version']) assert.equal((await wdelta([word])).stdout, '0.0.0-fake\n');
});

test('a failure is one line with code and file, and exit 1', async () => {
  const { code, stdout, stderr } = await wdelta(['decode', 'a.wdelta', '--base', 'base', '-o', 'x', '--dtype', 'bad']);
  assert.deepEqual([code, stdout, stderr], [1, '', 'wdelta: MALFORMED: record 3 is damaged (tensor w, file base, offset 7)\n']);
});

test('flags become options as they are spelled', async () => {
  const args = ['encode', '--base', 'base', '--finetuned', 'base', '--outlier-fraction', '0.0', '--base-name=-x', '-o', 'e.wdelta', '--json'];
  const { code, stdout } = await wdelta(args);
  assert.equal(code, 0);
  const report = JSON.parse(stdout);
  assert.deepEqual(report.options, { outlierFraction: '0.0', baseName: '-x' });
  assert.equal(report.outputs[0], join(home, 'e.wdelta'));
  const dry = await wdelta(['decode', 'a.wdelta', '--base', 'base', '--no-verify', '--dry-run', '--json']);
  assert.equal(JSON.parse(dry.stdout).bytes, 300_000);
});

test('a short flag takes its value after =, too', async () => {
  const { code, stdout } = await wdelta(['decode', 'a.wdelta', '--base=base', '-o=short', '--json']);
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(stdout).outputs, [join(home, 'short')]);
  assert.ok(existsSync(join(home, 'short')));
});

test('messages of the library name flags', () => {
  for (const [message, wanted] of [
    ['x exists already; choose another output, or pass force: true', 'x exists already; choose another output, or pass --force'],
    ['option lowRank must be auto or off', '--low-rank must be auto or off'],
    ['option effort must be a whole number from 0 to 3', '--effort must be a whole number from 0 to 3'],
    ['outlierFraction must be a number from 0 up to, but not including, 1; got 2', '--outlier-fraction must be a number from 0 up to, but not including, 1; got 2'],
    ['fetch it first, or set allowFullRead: true', 'fetch it first, or set --allow-full-read'],
    ["the fine-tune's own files; leave dtype and layout out", "the fine-tune's own files; leave --dtype and --layout out"],
  ]) assert.equal(asFlags(message), wanted);
});

test('a full disk behind stdout is an error, not a trace', { skip: !existsSync('/dev/full') }, async () => {
  const { code, stderr } = await wdelta(['inspect', 'table.wdelta'], { stdout: openSync('/dev/full', 'w') });
  assert.equal(code, 1);
  assert.match(stderr, /^wdelta: IO: standard output cannot be written: the disk is full; [^\n]*\n$/);
});

test('an interruption leaves nothing', { skip: process.platform === 'win32' }, async () => {
  const output = folder();
  const started = (child) => {
    // The unfinished file appears when the work begins.
    const watcher = watch(output, () => {
      watcher.close();
      child.kill('SIGINT');
    });
  };
  const { code, stderr } = await wdelta(['decode', 'a.wdelta', '--base', 'base', '-o', join(output, 'x'), '--dtype', 'endless', '--workers', '1'], { started });
  assert.equal(code, 130);
  assert.match(stderr, /^wdelta: ABORTED: /);
  assert.deepEqual(readdirSync(output), []);
});

const tensor = (name, bytes) => ({ name, dtype: 'BF16', shape: [4096, 11008], elements: 45_088_768, strategy: 'int4', bytes, options: {}, group: { role: 'x' }, records: [] });
const names = ['model.layers.0.mlp.down_proj.weight', 'model.layers.10.self_attn.q_proj.weight', '模型'.repeat(40), 'evil\x1b[2J\u202e\n.weight', ''];
const report = {
  version: 1,
  strategy: 'int4',
  bytes: 1000,
  baseHash: 'abc',
  baseName: 'org/\x1b]0;x\x07model',
  elements: 5,
  tensors: names.map((name, i) => tensor(name, i * 1e6)),
  findings: [{ severity: 'note', code: 'X', message: 'a\rb' }],
};
writeFileSync(join(home, 'table.wdelta'), JSON.stringify(report));

test('the table fits the terminal, whatever the names are', async () => {
  for (const width of [20, 40, 60, 80, 200]) {
    const { code, stdout } = await wdelta(['inspect', 'table.wdelta', '--tensors'], { env: { COLUMNS: String(width) } });
    assert.equal(code, 0);
    const lines = stdout.split('\n').slice(3, 4 + names.length);
    for (const line of lines) assert.ok(columns(line) <= width, `${line} at ${width}`);
    assert.ok(lines[1].startsWith('model'));
    assert.doesNotMatch(stdout.replaceAll('\n', ''), /[\x00-\x1f\x7f\u202e]/);
  }
});

test('what is not a terminal gets whole names, sorted and matched as asked', async () => {
  const { stdout } = await wdelta(['inspect', 'table.wdelta', '--match', 'model.*.weight', '--sort', 'bytes']);
  const found = [...stdout.matchAll(/^model\S+/gm)].map(([name]) => name);
  assert.deepEqual(found, [names[1], names[0]]);
  const none = await wdelta(['inspect', 'table.wdelta', '--match', 'nothing']);
  assert.match(none.stdout, /\nno tensor matches nothing; wdelta inspect --tensors shows their names\n$/);
  const json = await wdelta(['inspect', 'table.wdelta', 'table.wdelta', '--json']);
  assert.deepEqual(json.stdout.trim().split('\n').map((line) => JSON.parse(line)), [report, report]);
});

test('a bad file does not hide the others', async () => {
  const { code, stdout, stderr } = await wdelta(['inspect', 'missing.wdelta', 'table.wdelta', '--json']);
  assert.equal(code, 1);
  assert.deepEqual(JSON.parse(stdout), report);
  assert.equal(stderr, 'wdelta: IO: missing.wdelta cannot be read: there is no such file or folder\n');
});

test('errors that nobody reads stop nothing', async () => {
  const { code, stdout } = await wdelta(['inspect', 'missing.wdelta', 'table.wdelta', '--json'], { started: (child) => child.stderr.destroy() });
  assert.equal(code, 1);
  assert.deepEqual(JSON.parse(stdout), report);
});
