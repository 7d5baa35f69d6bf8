/* The words of the page, in the language of who reads it: Chainlit's own translations, and with them ours
   (parley/surfaces/page/languages.py). */
let words = {};

export const worded = (key) => key.split('.').reduce((found, part) => found?.[part], words);

export const learnWords = async () => {
  const language = navigator.language || 'en-US';
  const answer = await fetch(`/project/translations?language=${encodeURIComponent(language)}`);
  words = (await answer.json()).translation ?? {};
  if (words.parley) document.documentElement.lang = words.parley.tag;
};
