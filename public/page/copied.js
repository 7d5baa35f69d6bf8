/* What is copied is what the model wrote: the page gets colons and dollars as references, so that its Markdown
   takes no text for a directive or a formula, and formulas in its renderer's form
   (parley/surfaces/page/markdown.py, maths.py). */
const FORMULA = /^([ \t]*)\$\$\u2063(\[?)([=<>]?)((?:\\.|[^$]|\$(?!\$))*?)\$\$/gm;

// Lines that its dollars were given go; which those are, the signs behind the first dollars say.
function formulaAsWritten(_, indent, bracket, sign, content) {
  const line = '\n' + indent;
  if ('=<'.includes(sign || ' ')) content = content.slice(line.length);
  if ('=>'.includes(sign || ' ')) content = content.slice(0, -line.length);
  return indent + (bracket ? '\\[' : '$$') + content + (bracket ? '\\]' : '$$');
}

async function mended(item) {
  const parts = {};
  for (const type of item.types) {
    const blob = await item.getType(type);
    parts[type] = type === 'text/plain' ? new Blob([asWritten(await blob.text())], { type }) : blob;
  }
  return new ClipboardItem(parts);
}

const asWritten = (text) =>
  text
    .replace(FORMULA, formulaAsWritten)
    .replaceAll('$$\\relax ', () => '\\[')
    .replaceAll('\\relax$$', () => '\\]')
    .replaceAll('$\\relax ', () => '\\(')
    .replaceAll('\\relax$', () => '\\)')
    .replaceAll('&#x24;', () => '$')
    .replaceAll('&#x3A;', ':');

// There is none where the page came over plain HTTP from another machine.
const { clipboard } = navigator;
if (clipboard) {
  const writeText = clipboard.writeText.bind(clipboard);
  clipboard.writeText = (text) => writeText(asWritten(text));
}
if (clipboard?.write) {
  const write = clipboard.write.bind(clipboard);
  clipboard.write = async (items) => write(await Promise.all(items.map(mended)));
}
