// Writes ucd-12.1.txt: what the generator needs of the Unicode Character
// Database, version 12.1.0.
//
//   npm pack @unicode/unicode-12.1.0@2.0.7 && tar xzf unicode-unicode-12.1.0-2.0.7.tgz
//   node extract.mjs package UnicodeData.txt > ucd-12.1.txt
//
// Which code points are assigned and which are ignorable, and the case
// foldings, come from the package, which carries them for 12.1.0. Combining
// classes and canonical decompositions are not in it. They come from
// UnicodeData.txt of any later version, as in Debian's package unicode-data:
// by Unicode's stability policy they never change once a character is
// assigned, so the file is read for the characters of 12.1.0 alone.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

const [pkg, unicodeData] = process.argv.slice(2);
const load = async (p) => (await import(resolve(pkg, p))).default;
const hex = (n) => n.toString(16).toUpperCase().padStart(4, '0');
const print = (...words) => process.stdout.write(words.join(' ') + '\n');

print('# Extracted from the Unicode Character Database 12.1.0 by extract.mjs.');
print('# See ../LICENSE-unicode. Code points are hexadecimal, ranges inclusive.');
print('# assigned FIRST LAST | ignorable FIRST LAST | fold FROM TO... |');
print('# class CODE DECIMAL | decompose FROM TO...');

const assigned = await load('Binary_Property/Assigned/ranges.mjs');
for (const r of assigned) print('assigned', hex(r.begin), hex(r.end - 1));
for (const r of await load('Binary_Property/Default_Ignorable_Code_Point/ranges.mjs')) {
	print('ignorable', hex(r.begin), hex(r.end - 1));
}
const folds = [
	...await load('Case_Folding/C/code-points.mjs'),
	...await load('Case_Folding/F/code-points.mjs'),
].sort((a, b) => a[0] - b[0]);
for (const [from, to] of folds) print('fold', hex(from), [to].flat().map(hex).join(' '));

const isAssigned = (c) => assigned.some((r) => r.begin <= c && c < r.end);
for (const line of readFileSync(unicodeData, 'utf8').split('\n')) {
	const field = line.split(';');
	const code = parseInt(field[0], 16);
	if (field.length < 6 || !isAssigned(code)) continue;
	if (field[3] !== '0') print('class', hex(code), field[3]);
	if (field[5] && !field[5].startsWith('<')) print('decompose', hex(code), field[5]);
}
