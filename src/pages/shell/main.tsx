// The parts of the layout that every page has: the account, the palette, and the question that asks for confirmation.
import { render } from 'preact';
import { byId } from '../browser.ts';
import { ConfirmDialog } from '../components/confirm-dialog.tsx';
import { AccountButton, AccountDialog } from './account-dialog.tsx';
import { Palette, PaletteButton } from './palette.tsx';

render(
  <>
    <PaletteButton />
    <AccountButton />
  </>,
  byId('site-tools'),
);
render(
  <>
    <AccountDialog />
    <Palette />
    <ConfirmDialog />
  </>,
  byId('shell'),
);
