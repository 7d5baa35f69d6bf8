/* What the page shows as chosen: the model in the picker, and the settings. Chainlit's page says the model with a new
   message only; with us, what is asked anew says it too. And a server that does not know the session, because it is
   another one or was started again, hears both when the page connects. */
let session;
let models = [];
let settings;

const becomes = (other) => {
  if (other === session) return;
  [session, models, settings] = [other, [], undefined];
};

export const offerModels = ([picker], itsSession) => {
  becomes(itsSession);
  models = picker?.options ?? [];
};

export const offerSettings = (widgets, itsSession) => {
  becomes(itsSession);
  settings = Object.fromEntries(widgets.map(({ id, initial }) => [id, initial]));
};

/* Gives those from before. */
export const confirmSettings = (said) => {
  const before = settings;
  settings = said;
  return before;
};

/* The model's id; none where two have one name, which is all that the picker shows of it. */
export const pickedModel = () => {
  const shown = document.getElementById('mode-picker-trigger-model')?.textContent;
  const [picked, ...others] = models.filter(({ name }) => name === shown);
  return others.length ? undefined : picked?.id;
};

export const chosenIn = (itsSession) => (itsSession === session ? { model: pickedModel(), settings } : undefined);
