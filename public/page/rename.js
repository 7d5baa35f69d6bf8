/* Enter gives a thread its new name, as the button beside Cancel does; what is still being composed, it only ends. */
addEventListener('keydown', (event) => {
  const { target, key, isComposing } = event;
  if (key !== 'Enter' || isComposing || !target.matches?.('[role=dialog] input#name')) return;
  event.preventDefault();
  target.closest('[role=dialog]').querySelector('button + button')?.click();
});
