/* The model that the picker shows. Chainlit's page says it with a new message only; with us, what is asked anew does too. */
let offered = [];

export const offer = ([picker]) => {
  offered = picker?.options ?? [];
};

/* Its id; none where two have one name, which is all that the picker shows of it. */
export const pickedModel = () => {
  const shown = document.getElementById('mode-picker-trigger-model')?.textContent;
  const [picked, ...others] = offered.filter(({ name }) => name === shown);
  return others.length ? undefined : picked?.id;
};
