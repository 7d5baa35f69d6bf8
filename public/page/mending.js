/* What Chainlit draws is mended whenever it has drawn. */
import { nameButtons, nameDialogs, translateTold } from './names.js';
import { direct, mendRoles, shutOff } from './reach.js';
import { learnWords } from './words.js';

const mend = () => {
  direct();
  nameButtons();
  nameDialogs();
  mendRoles();
  translateTold();
};

let asked = false;
const mendSoon = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    mend();
  });
};

const begin = async () => {
  await learnWords();
  mend();
  const changes = new MutationObserver(() => {
    shutOff();
    mendSoon();
  });
  changes.observe(document.body, { childList: true, subtree: true, attributeFilter: ['aria-hidden'] });
};

begin();
